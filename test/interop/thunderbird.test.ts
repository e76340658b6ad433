// Thunderbird as a user has it: an account set up, folders and messages seen, read, starred, tagged,
// moved, deleted, searched on the server, sent, and new mail that comes by itself.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { ImapClient } from "../support/imap-client.ts";
import { until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";
import { Thunderbird } from "../support/thunderbird.ts";

let cluster: DevCluster;
let thunderbird: Thunderbird;

beforeAll(async () => {
  cluster = await DevCluster.start({ users: 2 });
  for (const [subject, text] of [
    ["First", "nothing of note"],
    ["=?utf-8?B?7YyM67CcIOyGjOyLnQ==?=", "the heron is in here"],
    ["Third", "a hippopotamus in the middle"],
    ["Fourth", "moved soon"],
    ["Fifth", "deleted soon"],
  ] as const) {
    await send(subject, text);
  }
  thunderbird = await Thunderbird.start();
}, 120_000);
afterAll(async () => {
  await thunderbird.stop();
  await cluster.destroy();
});

async function send(subject: string, text: string): Promise<void> {
  const client = await SmtpClient.connect(cluster.gateway("g2").smtp);
  const head = `From: A Friend <friend@example.org>\r\nTo: u1@pabal.test\r\nSubject: ${subject}\r\n`;
  const id = `Message-ID: <${Math.random()}@example.org>\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n`;
  const message = Buffer.from(`${head}${id}\r\n${text}\r\n`);
  expect((await client.deliver({ to: ["u1@pabal.test"], message })).kind).toBe("accepted");
  await client.quit();
}

/** What the server has, through the other gateway. */
async function onServer(
  mailbox: string,
  subject: string,
  user = "u1",
): Promise<string | undefined> {
  const client = await ImapClient.connect(cluster.gateway("g2").imap);
  await client.ok(`LOGIN ${user} secret`);
  await client.ok(`EXAMINE ${mailbox}`);
  const reply = await client.ok("FETCH 1:* (FLAGS ENVELOPE)").catch(() => undefined);
  await client.ok("LOGOUT");
  return reply?.untagged.map((line) => line.text).find((line) => line.includes(subject));
}

async function seen(mailbox: string, subject: string, flags: RegExp): Promise<void> {
  await until(`${subject} in ${mailbox} with ${flags}`, 20_000, async () =>
    flags.test((await onServer(mailbox, subject)) ?? "") ? true : undefined,
  );
}

test("an account is set up: folders with their uses, and the messages in the inbox", async () => {
  const { imap, submission } = cluster.gateway("g1");
  const folders = await thunderbird.run(
    `
    const imap = MailServices.accounts.createIncomingServer("u1@pabal.test", "127.0.0.1", "imap");
    imap.port = given[0];
    imap.password = "secret";
    imap.socketType = Ci.nsMsgSocketType.plain;
    imap.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
    const smtp = MailServices.outgoingServer.createServer("smtp");
    smtp.QueryInterface(Ci.nsISmtpServer);
    smtp.hostname = "127.0.0.1";
    smtp.port = given[1];
    smtp.username = "u1@pabal.test";
    smtp.password = "secret";
    smtp.socketType = Ci.nsMsgSocketType.plain;
    smtp.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
    MailServices.outgoingServer.defaultServer = smtp;
    const identity = MailServices.accounts.createIdentity();
    identity.email = "u1@pabal.test";
    identity.fullName = "User One";
    identity.smtpServerKey = smtp.key;
    const account = MailServices.accounts.createAccount();
    account.addIdentity(identity);
    account.incomingServer = imap;
    MailServices.accounts.defaultAccount = account;
    imap.performExpand(null);
    await until("folders", () => folder("Trash") && folder("Sent") && folder("Junk"));
    const pane = document.getElementById("tabmail").currentAbout3Pane;
    await refreshed("INBOX");
    pane.displayFolder(folder("INBOX").URI);
    await until("five messages", () => folder("INBOX").getTotalMessages(false) === 5);
    const flags = Ci.nsMsgFolderFlags;
    const uses = { Sent: flags.SentMail, Drafts: flags.Drafts, Junk: flags.Junk, Trash: flags.Trash, Archive: flags.Archive };
    return Object.entries(uses).filter(([name, flag]) => folder(name).getFlag(flag)).map(([name]) => name);
  `,
    imap,
    submission,
  );
  expect(folders).toEqual(["Sent", "Drafts", "Junk", "Trash", "Archive"]);
  const subjects = await thunderbird.run(
    `return [...folder("INBOX").messages].map((each) => each.mime2DecodedSubject).sort();`,
  );
  expect(subjects).toEqual(["Fifth", "First", "Fourth", "Third", "파발 소식"]);
});

test("reading, a star and a tag are flags on the server", async () => {
  await thunderbird.run(`
    folder("INBOX").markMessagesRead([header("INBOX", "First")], true);
    folder("INBOX").markMessagesFlagged([header("INBOX", "First")], true);
    folder("INBOX").addKeywordsToMessages([header("INBOX", "First")], "$label1");
  `);
  await seen("INBOX", "First", /(?=.*\\Seen)(?=.*\\Flagged)(?=.*\$label1)/i);
});

test("a message is opened and shown", async () => {
  const text = await thunderbird.run(`
    const pane = document.getElementById("tabmail").currentAbout3Pane;
    pane.selectMessage(header("INBOX", "파발 소식"));
    const message = await until("the message's page", () => {
      const page = pane.document.getElementById("messageBrowser")?.contentDocument;
      return page?.getElementById("expandedsubjectBox")?.textContent.includes("파발") ? page : undefined;
    });
    const browser = message.getElementById("messagepane");
    return until("the text", () => {
      const shown = browser.contentDocument?.body?.textContent;
      return shown?.includes("heron") ? shown.trim() : undefined;
    });
  `);
  expect(text).toContain("the heron is in here");
  const shots = process.env["PABAL_TEST_SCREENSHOTS"];
  if (shots !== undefined) await thunderbird.screenshot(join(shots, "thunderbird.png"));
});

test("a message is moved, another deleted to the trash", async () => {
  await thunderbird.run(`
    const inbox = folder("INBOX");
    MailServices.copy.copyMessages(inbox, [header("INBOX", "Fourth")], folder("Archive"), true, null, null, false);
    await until("the move", () => !header("INBOX", "Fourth"));
    inbox.deleteMessages([header("INBOX", "Fifth")], null, false, true, null, false);
    await until("the deletion", () => !header("INBOX", "Fifth"));
  `);
  await seen("Archive", "Fourth", /Fourth/);
  await seen("Trash", "Fifth", /Fifth/);
  expect(await onServer("INBOX", "Fourth")).toBeUndefined();
  expect(await onServer("INBOX", "Fifth")).toBeUndefined();
});

test("new mail comes without being asked for", async () => {
  await send("Pushed", "by IDLE");
  const tookMs = await thunderbird.run(`
    const began = Date.now();
    await until("new mail", () => header("INBOX", "Pushed"));
    return Date.now() - began;
  `);
  process.stdout.write(`thunderbird: new mail seen after ${String(tookMs)} ms\n`);
});

test("a search runs on the server", async () => {
  const found = await thunderbird.run(`
    const session = Cc["@mozilla.org/messenger/searchSession;1"].createInstance(Ci.nsIMsgSearchSession);
    session.addScopeTerm(Ci.nsMsgSearchScope.onlineMail, folder("INBOX"));
    const term = session.createTerm();
    term.attrib = Ci.nsMsgSearchAttrib.Body;
    term.op = Ci.nsMsgSearchOp.Contains;
    const value = term.value;
    value.attrib = term.attrib;
    value.str = "hippopotamus";
    term.value = value;
    term.booleanAnd = true;
    session.appendTerm(term);
    const hits = [];
    await new Promise((resolve) => {
      session.registerListener({
        onSearchHit: (each) => hits.push(each.mime2DecodedSubject),
        onSearchDone: resolve,
        onNewSearch: () => {},
      });
      session.search(null);
    });
    return hits;
  `);
  expect(found).toEqual(["Third"]);
});

test("a message is sent, delivered, and kept in Sent", async () => {
  await thunderbird.run(`
    const identity = MailServices.accounts.defaultAccount.defaultIdentity;
    const fields = Cc["@mozilla.org/messengercompose/composefields;1"].createInstance(Ci.nsIMsgCompFields);
    fields.from = "u1@pabal.test";
    fields.to = "u2@pabal.test";
    fields.subject = "From Thunderbird";
    fields.fcc = folder("Sent").URI;
    const send = Cc["@mozilla.org/messengercompose/send;1"].createInstance(Ci.nsIMsgSend);
    await new Promise((resolve, reject) => {
      const listener = {
        QueryInterface: ChromeUtils.generateQI(["nsIMsgSendListener", "nsIMsgCopyServiceListener"]),
        onStartSending: () => {},
        onProgress: () => {},
        onSendProgress: () => {},
        onStatus: () => {},
        onStopSending: (id, status) => { if (status !== 0) reject(new Error("sending: " + status)); },
        onGetDraftFolderURI: () => {},
        onSendNotPerformed: () => reject(new Error("not sent")),
        onTransportSecurityError: () => reject(new Error("TLS")),
        onStartCopy: () => {},
        setMessageKey: () => {},
        getMessageId: () => null,
        onStopCopy: (status) => (status === 0 ? resolve() : reject(new Error("copy: " + status))),
      };
      send.createAndSendMessage(null, identity, MailServices.accounts.defaultAccount.key, fields, false, false,
        Ci.nsIMsgCompDeliverMode.Now, null, "text/plain", "written in Thunderbird", null, null, listener, "", "", Ci.nsIMsgCompType.New);
    });
  `);
  await seen("Sent", "From Thunderbird", /\\Seen/);
  const client = await ImapClient.connect(cluster.gateway("g2").imap);
  await client.ok("LOGIN u2 secret");
  await client.ok("SELECT INBOX");
  const { untagged } = await client.ok("SEARCH SUBJECT Thunderbird BODY written");
  expect(untagged.map((line) => line.text)).toContain("* SEARCH 1");
  await client.ok("LOGOUT");
});

test("announcements are there without set-up: read, hidden and recalled, for this user alone", async () => {
  const announce = async (subject: string) => {
    const file = join(cluster.folder, "notice.eml");
    writeFileSync(file, `From: boss@pabal.test\r\nSubject: ${subject}\r\n\r\nto everyone\r\n`);
    const sent = await cluster.cli(["announce", "send", file, "--json"]);
    expect(sent).toMatchObject({ status: 0 });
  };
  for (const subject of ["Notice one", "Notice two", "Notice three"]) await announce(subject);
  await thunderbird.run(`
    server().performExpand(null);
    await until("the folder", () => folder("Announcements") && folder("all"));
    const pane = document.getElementById("tabmail").currentAbout3Pane;
    await refreshed("all");
    pane.displayFolder(folder("all").URI);
    await until("three announcements", () => folder("all").getTotalMessages(false) === 3);
    await until("their headers", () => header("all", "Notice one") && header("all", "Notice two"));
    folder("all").markMessagesRead([header("all", "Notice one")], true);
    folder("all").deleteMessages([header("all", "Notice two")], null, false, true, null, false);
  `);
  const box = "Announcements/all";
  await seen(box, "Notice one", /\\Seen/);
  await until("it to be hidden", 20_000, async () =>
    (await onServer(box, "Notice two")) === undefined ? true : undefined,
  );
  const shots = process.env["PABAL_TEST_SCREENSHOTS"];
  if (shots !== undefined) await thunderbird.screenshot(join(shots, "announcements.png"));
  const other = await onServer(box, "Notice one", "u2");
  expect(other).toBeDefined();
  expect(other).not.toMatch(/\\Seen/);
  expect(await onServer(box, "Notice two", "u2")).toBeDefined();

  const listed = await cluster.cli(["announce", "list", "--json"]);
  const id = /"uid":\s*(\d+)[^}]*Notice three/.exec(listed.stdout)?.[1] ?? "3";
  expect(await cluster.cli(["announce", "recall", id])).toMatchObject({ status: 0 });
  await thunderbird.run(`await until("the recall", () => !header("all", "Notice three"));`);
  expect(await onServer(box, "Notice three", "u2")).toBeUndefined();
});
