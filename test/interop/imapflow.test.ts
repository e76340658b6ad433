// ImapFlow, a client that uses what a server announces, over TLS to a whole cluster: mailboxes,
// append, fetch with structures, search, flags, move, and IDLE across gateways.

import { readFileSync } from "node:fs";
import { ImapFlow } from "imapflow";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { until } from "../support/processes.ts";
import { awkward, downloadPart, message, mustRun, readMailbox } from "./support.ts";

let cluster: DevCluster;
let client: ImapFlow;
let user = 0;

beforeAll(async () => {
  cluster = await DevCluster.start({ users: 12 });
});
afterAll(async () => {
  await cluster.destroy();
});
beforeEach(async () => {
  user += 1; // Each test has an account of its own.
  client = await connect("g1");
});
afterEach(async () => {
  await client.logout();
});

/** TLS from the first byte on g1, STARTTLS on g2; the certificate is verified. */
async function connect(gateway: string): Promise<ImapFlow> {
  const { imap, imaps } = cluster.gateway(gateway);
  const one = new ImapFlow({
    host: "localhost",
    ...(gateway === "g1" ? { port: imaps, secure: true } : { port: imap, doSTARTTLS: true }),
    tls: { ca: readFileSync(cluster.ports.tls.ca) },
    logger: false,
    qresync: true,
    auth: { user: `u${user}@pabal.test`, pass: "secret" },
  });
  await one.connect();
  return one;
}

const mixed = message(
  "=?utf-8?B?7ZWc6riAIOygnOuqqQ==?=", // 한글 제목
  [
    "--b",
    "Content-Type: text/plain; charset=utf-8",
    "",
    "본문입니다",
    "",
    "--b",
    'Content-Type: application/pdf; name="a.pdf"',
    "Content-Disposition: attachment; filename*=UTF-8''%EB%B3%B4%EA%B3%A0%EC%84%9C.pdf",
    "Content-Transfer-Encoding: base64",
    "",
    "UGFiYWw=",
    "--b--",
  ],
  ["Content-Type: multipart/mixed; boundary=b"],
);

describe("imapflow", () => {
  test("a refused login is told as such", async () => {
    const wrong = new ImapFlow({
      host: "localhost",
      port: cluster.gateway("g2").imap,
      secure: false,
      tls: { ca: readFileSync(cluster.ports.tls.ca) },
      logger: false,
      auth: { user: "u1", pass: "wrong" },
    });
    await expect(wrong.connect()).rejects.toMatchObject({
      authenticationFailed: true,
      serverResponseCode: "AUTHENTICATIONFAILED",
    });
  });

  test("mailboxes are created, listed, counted, renamed and deleted, Korean names too", async () => {
    await client.mailboxCreate("업무/회의록");
    await client.append("업무/회의록", awkward);
    const other = await connect("g2");
    const list = await other.list({ statusQuery: { messages: true, unseen: true, uidNext: true } });
    const status = list.find(({ path }) => path === "업무/회의록")?.status;
    expect(status).toMatchObject({ messages: 1, unseen: 1, uidNext: 2 });
    expect(list.find(({ path }) => path === "Sent")?.specialUse).toBe("\\Sent");
    await other.mailboxRename("업무", "보관/업무");
    const renamed = (await client.list()).map(({ path }) => path);
    expect(renamed).toContain("보관/업무/회의록");
    expect(renamed).not.toContain("업무/회의록");
    await client.mailboxDelete("보관/업무/회의록");
    expect((await other.list()).map(({ path }) => path)).not.toContain("보관/업무/회의록");
    await other.logout();
  });

  test("an appended message keeps its bytes, flags and date on the other gateway", async () => {
    const date = new Date("2020-02-29T12:34:56Z");
    const appended = await client.append("INBOX", awkward, ["\\Flagged", "$Label1"], date);
    expect(appended).toMatchObject({ uid: 1 });
    const other = await connect("g2");
    await other.mailboxOpen("INBOX");
    const found = await other.fetchOne("1", {
      source: true,
      flags: true,
      internalDate: true,
      size: true,
    });
    if (found === false) throw new Error("no message");
    expect(found.source?.equals(awkward)).toBe(true);
    expect(found.size).toBe(awkward.length);
    expect([...(found.flags ?? [])].sort()).toEqual(["$Label1", "\\Flagged"]);
    expect(found.internalDate).toEqual(date);
    await other.logout();
  });

  test("envelope and structure are right, each part is decoded", async () => {
    await client.append("INBOX", mixed);
    await client.mailboxOpen("INBOX");
    const found = await client.fetchOne("*", { envelope: true, bodyStructure: true });
    if (found === false) throw new Error("no message");
    expect(found.envelope).toMatchObject({
      subject: "한글 제목",
      from: [{ name: "Friend", address: "friend@example.org" }],
    });
    expect(found.bodyStructure?.type).toBe("multipart/mixed");
    expect(found.bodyStructure?.childNodes).toMatchObject([
      { part: "1", type: "text/plain", parameters: { charset: "utf-8" }, lineCount: 1 },
      {
        part: "2",
        type: "application/pdf",
        encoding: "base64",
        disposition: "attachment",
        dispositionParameters: { filename: "보고서.pdf" },
      },
    ]);
    expect((await downloadPart(client, "*", "2")).toString()).toBe("Pabal");
  });

  test("search finds by text in Korean, by flags and by date", async () => {
    await client.append("INBOX", awkward, ["\\Seen"], new Date("2020-01-01T12:00:00Z"));
    await client.append("INBOX", mixed, [], new Date("2024-01-01T12:00:00Z"));
    await client.mailboxOpen("INBOX");
    const search = async (query: Parameters<ImapFlow["search"]>[0]) =>
      client.search(query, { uid: true });
    expect(await search({ body: "파발입니다" })).toEqual([1]);
    expect(await search({ subject: "한글" })).toEqual([2]);
    expect(await search({ seen: false })).toEqual([2]);
    expect(await search({ before: new Date("2022-01-01") })).toEqual([1]);
    expect(await search({ or: [{ subject: "awkward" }, { subject: "한글" }] })).toEqual([1, 2]);
  });

  test("flags are stored, messages moved and deleted, with the new UIDs told", async () => {
    for (const name of ["a", "b", "c"]) await client.append("INBOX", message(name, [name]));
    await client.mailboxOpen("INBOX");
    await client.messageFlagsAdd("1,3", ["\\Seen"]);
    const moved = await client.messageMove("2", "Archive");
    expect(moved).toMatchObject({ uidMap: new Map([[2, 1]]) });
    await client.messageDelete({ seen: true });
    expect(client.mailbox).toMatchObject({ exists: 0 });
    const archived = await readMailbox(cluster.gateway("g2").imap, `u${user}`, "Archive");
    expect(archived.map(String)).toEqual([message("b", ["b"]).toString()]);
  });

  test("IDLE on one gateway tells at once what happens at the other", async () => {
    await client.mailboxOpen("INBOX");
    const events: string[] = [];
    client.on("exists", ({ count }: { count: number }) => events.push(`exists ${count}`));
    client.on("flags", ({ seq }: { seq: number }) => events.push(`flags ${seq}`));
    client.on("expunge", ({ uid, seq }: { uid?: number; seq?: number }) =>
      events.push(`expunge ${uid ?? seq}`),
    );
    const idle = client.idle();
    const args = ["--from", "friend@example.org", "--to", `u${user}@pabal.test`];
    await mustRun("swaks", ["--server", `127.0.0.1:${cluster.gateway("g2").smtp}`, ...args]);
    await until("EXISTS", 3000, () => (events.includes("exists 1") ? true : undefined));
    const other = await connect("g2");
    await other.mailboxOpen("INBOX");
    await other.messageFlagsAdd("1", ["\\Flagged"]);
    await until("FETCH FLAGS", 3000, () => (events.includes("flags 1") ? true : undefined));
    await other.messageDelete("1");
    await until("EXPUNGE", 3000, () => (events.includes("expunge 1") ? true : undefined));
    await other.logout();
    await client.noop();
    await idle;
  });
});
