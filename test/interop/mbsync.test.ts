// mbsync keeps a Maildir and the account the same, both ways: what it does is checked on the other
// gateway and in the file system. Messages are compared byte for byte but for their line ends, which
// are LF in a Maildir, and mbsync's own X-TUID field.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { awkward, flow, message, mustRun, readMailbox, Scratch } from "./support.ts";

let cluster: DevCluster;
let scratch: Scratch;

beforeAll(async () => {
  scratch = new Scratch();
  cluster = await DevCluster.start({ users: 1 });
  mkdirSync(scratch.path("mail"));
  scratch.write("mbsyncrc", configuration(cluster.gateway("g1").imap, cluster.ports.tls.ca));
});
afterAll(async () => {
  await cluster.destroy();
  scratch.remove();
});

function configuration(port: number, ca: string): string {
  const account = `IMAPAccount a\nHost localhost\nPort ${port}\nUser u1\nPass secret`;
  const tls = `SSLType STARTTLS\nCertificateFile ${ca}\nAuthMechs PLAIN`;
  const local = `MaildirStore l\nPath ${scratch.path("mail")}/\nInbox ${scratch.path("mail/INBOX")}`;
  const both = "Far :r:\nNear :l:\nPatterns *\nCreate Both\nRemove Both\nExpunge Both\nSyncState *";
  return `${account}\n${tls}\n\nIMAPStore r\nAccount a\n\n${local}\nSubFolders Verbatim\n\nChannel c\n${both}\n`;
}

async function sync(): Promise<string> {
  return mustRun("mbsync", ["-c", scratch.path("mbsyncrc"), "-a"], { withinMs: 30_000 });
}

/** Both sides as they are: every file's name, every mailbox's counters. */
async function state(): Promise<unknown> {
  const files = readdirSync(scratch.path("mail"), { recursive: true }).map(String);
  const query = { messages: true, uidNext: true, unseen: true, highestModseq: true };
  const list = await onServer((client) => client.list({ statusQuery: query }));
  const remotes = list.map(({ path, status }) => ({ ...status, path }));
  return { files: files.filter((name) => !name.includes(".mbsyncstate")).sort(), remotes };
}

/** A second run finds nothing to do: no file and no MODSEQ changes. */
async function expectSynced(): Promise<void> {
  const before = await state();
  await sync();
  expect(await state()).toEqual(before);
}

interface LocalMessage {
  readonly file: string;
  readonly flags: string;
  readonly bytes: string;
}

function local(mailbox: string): readonly LocalMessage[] {
  const found: LocalMessage[] = [];
  for (const folder of ["new", "cur"]) {
    const path = scratch.path("mail", mailbox, folder);
    for (const name of readdirSync(path)) {
      const file = join(path, name);
      const bytes = asSent(readFileSync(file));
      found.push({ file, flags: /:2,(\w*)$/.exec(name)?.[1] ?? "", bytes });
    }
  }
  return found;
}

function localWith(mailbox: string, subject: string): LocalMessage {
  const found = local(mailbox).find(({ bytes }) => bytes.includes(`\r\nSubject: ${subject}\r\n`));
  if (found === undefined) throw new Error(`${mailbox} has no message "${subject}"`);
  return found;
}

function asSent(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString();
  return text.replaceAll(/\r?\n/g, "\r\n").replace(/^X-TUID: .*\r\n/m, "");
}

/** Adds a message to the Maildir as a mail program does. */
function addLocal(mailbox: string, name: string, bytes: Buffer): void {
  const folder = scratch.path("mail", mailbox);
  for (const part of ["cur", "new", "tmp"]) mkdirSync(join(folder, part), { recursive: true });
  scratch.write(
    join("mail", mailbox, "cur", `${name}:2,`),
    bytes.toString().replaceAll("\r\n", "\n"),
  );
}

async function onServer<T>(work: (client: ReturnType<typeof flow>) => Promise<T>): Promise<T> {
  const client = flow(cluster.gateway("g2").imap, "u1");
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.logout();
  }
}

async function remote(mailbox: string): Promise<readonly string[]> {
  return (await readMailbox(cluster.gateway("g2").imap, "u1", mailbox)).map(asSent);
}

// The tests are one story: each goes on with the state that the one before has left.
describe("mbsync", () => {
  test("pulls messages and all mailboxes; a second run does nothing", async () => {
    await onServer(async (client) => {
      await client.append("INBOX", awkward);
      await client.append("INBOX", message("second", ["two"]), ["\\Seen"]);
      await client.append("INBOX", message("third", ["three"]));
      await client.append("Sent", message("was sent", ["sent"]), ["\\Seen"]);
    });
    await sync();
    expect(localWith("INBOX", "awkward body").bytes).toBe(awkward.toString());
    expect(localWith("INBOX", "second").flags).toBe("S");
    expect(local("Sent")).toHaveLength(1);
    expect(readdirSync(scratch.path("mail")).filter((name) => !name.startsWith("."))).toEqual([
      "Archive",
      "Drafts",
      "INBOX",
      "Junk",
      "Sent",
      "Trash",
    ]);
    await expectSynced();
  });

  test("pushes new local mail as it is", async () => {
    const bytes = message("written here", ["pushed, 파발", ".", "..", "end"]);
    addLocal("Drafts", "1.local", bytes);
    await sync();
    expect(await remote("Drafts")).toEqual([bytes.toString()]);
    await expectSynced();
  });

  test("flags go both ways", async () => {
    await onServer(async (client) => {
      await client.mailboxOpen("INBOX");
      await client.messageFlagsAdd({ subject: "third" }, ["\\Flagged", "\\Answered"]);
      await client.messageFlagsRemove({ subject: "second" }, ["\\Seen"]);
    });
    const { file } = localWith("INBOX", "awkward body");
    renameSync(file, file.replace("/new/", "/cur/").replace(/:2,\w*$|$/, ":2,FS"));
    await sync();
    expect(localWith("INBOX", "third").flags).toBe("FR");
    expect(localWith("INBOX", "second").flags).toBe("");
    const flags = await onServer(async (client) => {
      await client.mailboxOpen("INBOX");
      const found = await client.fetchAll({ subject: "awkward body" }, { flags: true });
      return found.map((one) => [...(one.flags ?? [])].sort());
    });
    expect(flags).toEqual([["\\Flagged", "\\Seen"]]);
    await expectSynced();
  });

  test("deletions go both ways and are expunged", async () => {
    rmSync(localWith("INBOX", "second").file);
    await onServer(async (client) => {
      await client.mailboxOpen("INBOX");
      await client.messageDelete({ subject: "third" });
    });
    await sync();
    expect(await remote("INBOX")).toEqual([awkward.toString()]);
    expect(local("INBOX").map(({ bytes }) => bytes)).toEqual([awkward.toString()]);
    await expectSynced();
  });

  test("new folders go both ways, Korean and nested ones too", async () => {
    const bytes = message("in a new folder", ["새 폴더"]);
    await onServer(async (client) => {
      await client.mailboxCreate("업무/2026년");
      await client.append("업무/2026년", bytes);
    });
    // mbsync keeps the wire form of names: modified UTF-7 of 메모. RFC 3501 §5.1.3
    addLocal("&ulS6qA-", "2.local", bytes);
    addLocal("Projects", "3.local", bytes);
    await sync();
    expect(localWith("&xcW7NA-/2026&sUQ-", "in a new folder").bytes).toBe(bytes.toString());
    expect(await remote("메모")).toEqual([bytes.toString()]);
    expect(await remote("Projects")).toEqual([bytes.toString()]);
    await expectSynced();
  });

  test("a mailbox deleted on the server goes here too once it is empty", async () => {
    rmSync(localWith("Projects", "in a new folder").file);
    await sync();
    await onServer((client) => client.mailboxDelete("Projects"));
    await sync();
    expect(existsSync(scratch.path("mail/Projects"))).toBe(false);
    await expectSynced();
  });

  test("goes on after a node was killed", async () => {
    await cluster.restart("n1");
    await cluster.settled();
    const bytes = message("after the kill", ["still here"]);
    addLocal("INBOX", "4.local", bytes);
    await sync();
    expect(await remote("INBOX")).toEqual([awkward.toString(), bytes.toString()]);
    await expectSynced();
  });
});
