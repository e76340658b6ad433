// Sessions that survive on real processes: the mail node that serves them is killed with an IMAP client
// in IDLE, another in the middle of a FETCH of 10,000 messages, a POP3 client in the middle of a RETR.
// All go on without a reconnect and end with the right data.

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { fetchFlags, ImapClient } from "../support/imap-client.ts";
import { ledgerMessage } from "../support/ledger.ts";
import { SmtpClient } from "../support/smtp-client.ts";

let cluster: DevCluster;
const open: { close(): void }[] = [];

beforeAll(async () => {
  cluster = await DevCluster.start({
    nodes: 4,
    users: 4,
    restartAfter: "never",
    set: ["log.level=warn"],
  });
}, 90_000);
afterAll(async () => {
  for (const client of open) client.close();
  await cluster.destroy();
});

const count = 10_000;
/** 25 MB in all: more than all buffers on the way hold, so that the node is still reading. */
function numbered(n: number): Buffer {
  const line = `${n} `.padEnd(76, "abcdefghijklmnopqrstuvwxyz0123456789");
  return Buffer.from(`Subject: ${n}\r\nX-Number: ${n}\r\n\r\n${`${line}\r\n`.repeat(32)}`);
}

async function session(user: string, gateway: string): Promise<ImapClient> {
  const { password } = cluster.ports;
  const client = await ImapClient.connect(
    cluster.gateway(gateway).imap,
    { user, password },
    60_000,
  );
  open.push(client);
  return client;
}

async function fill(client: ImapClient): Promise<void> {
  for (let first = 1; first <= count; first += 250) {
    const parts: (string | Buffer)[] = ["APPEND INBOX"];
    for (let n = first; n < first + 250; n++) parts.push(" ", numbered(n));
    await client.ok(...parts);
  }
}

/** The node that serves the user's mail now. */
async function nodeOf(user: string): Promise<string> {
  const { stdout } = await cluster.cli(["user", "show", `${user}@pabal.test`, "--json"]);
  const shard = Number(/"shard":\s*(\d+)/.exec(stdout)?.[1]);
  const found = (await cluster.shards()).find((config) => config.shard === shard);
  if (found === undefined) throw new Error(`no shard of ${user}: ${stdout}`);
  return found.primary.node;
}

/** A client that reads as much as it is told to, and keeps all of it. */
class Reader {
  readonly #socket: Socket;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #tail = "";
  ended = false;

  static async connect(port: number): Promise<Reader> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    const reader = new Reader(socket);
    open.push(reader);
    await reader.until((tail) => tail.endsWith("\r\n"));
    reader.take();
    return reader;
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.pause();
    socket.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
      this.#tail = (this.#tail + chunk.toString("latin1")).slice(-4096);
    });
    socket.on("end", () => {
      this.ended = true;
    });
    socket.on("error", () => {
      this.ended = true;
    });
  }

  send(line: string): void {
    this.#socket.write(`${line}\r\n`);
  }

  /** Reads until `enough`, then stops reading. */
  async until(enough: (tail: string, bytes: number) => boolean): Promise<void> {
    const endMs = performance.now() + 90_000;
    this.#socket.resume();
    while (!enough(this.#tail, this.#bytes)) {
      if (this.ended) throw new Error(`the server closed the connection: ${this.#tail}`);
      if (performance.now() > endMs) throw new Error(`no answer: ${this.#tail.slice(-200)}`);
      await new Promise((resolve) => {
        setTimeout(resolve, 2);
      });
    }
    this.#socket.pause();
  }

  async say(line: string, end: RegExp): Promise<string> {
    this.send(line);
    await this.until((tail) => end.test(tail));
    return this.take().toString("latin1");
  }

  take(): Buffer {
    this.#bytes = 0;
    this.#tail = "";
    return Buffer.concat(this.#chunks.splice(0));
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Takes `* n FETCH (… {size}CRLF literal)CRLF` apart; other lines by themselves. */
function* answers(bytes: Buffer): Generator<{ readonly line: string; readonly body: Buffer }> {
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf("\r\n", at);
    const line = bytes.toString("latin1", at, end);
    const size = Number(/\{(\d+)\}$/.exec(line)?.[1] ?? -1);
    const body = bytes.subarray(end + 2, end + 2 + Math.max(0, size));
    at = end + 2 + body.length;
    if (size >= 0) {
      expect(bytes.toString("latin1", at, at + 3)).toBe(")\r\n");
      at += 3;
    }
    yield { line, body };
  }
}

test("kill -9 with one client in IDLE and one in a FETCH of 10,000 messages: both go on", {
  timeout: 240_000,
}, async () => {
  const user = "u1";
  const other = await session(user, "g2");
  await fill(other);
  await other.ok("SELECT INBOX");
  const idler = await session(user, "g1");
  await idler.ok("SELECT INBOX");
  await idler.idle();

  const reader = await Reader.connect(cluster.gateway("g1").imap);
  await reader.say(`a LOGIN ${user} ${cluster.ports.password}`, /a OK .*\r\n$/);
  await reader.say("b SELECT INBOX", /b OK .*\r\n$/);
  reader.send("c FETCH 1:* (UID FLAGS BODY.PEEK[])");
  await reader.until((_, bytes) => bytes > 500_000);

  const killed = await nodeOf(user);
  await cluster.kill(killed);
  // While it is down: flags of what is still to come, a message that was told already, new mail.
  await other.ok("UID STORE 9000:9999 +FLAGS.SILENT ($Late)");
  await other.ok("UID STORE 1 +FLAGS.SILENT (\\Deleted)");
  await other.ok("UID EXPUNGE 1");
  const smtp = await SmtpClient.connect(cluster.gateway("g2").smtp);
  open.push(smtp);
  const message = ledgerMessage("survive-1", "behind the failure");
  expect((await smtp.deliver({ to: [`${user}@pabal.test`], message })).kind).toBe("accepted");

  await idler.untilLine(/^\* 1 EXPUNGE$/, 60_000);
  await idler.untilLine(new RegExp(`^\\* ${count} EXISTS$`), 60_000);

  await reader.until((tail) => /\r\nc (?:OK|NO|BAD) .*\r\n$/.test(tail));
  const lines = [...answers(reader.take())];
  const fetched = lines.filter(({ line }) => line.includes(" BODY[] {"));
  expect(fetched).toHaveLength(count);
  for (const [at, { line, body }] of fetched.entries()) {
    expect(line.startsWith(`* ${at + 1} FETCH (UID ${at + 1} FLAGS (`)).toBe(true);
    expect(body.equals(numbered(at + 1))).toBe(true);
  }
  expect(lines.at(-1)?.line).toMatch(/^c OK /);
  // RFC 9051 §7.5.1: what went while numbers were in use is told behind it.
  const news = await reader.say("d NOOP", /d OK .*\r\n$/);
  const all = lines.map(({ line }) => line).join("\r\n") + news;
  expect(all).toContain("* 1 EXPUNGE\r\n");
  // One more than are left, when it was told while the expunged one still had its number.
  expect(all).toMatch(new RegExp(`\\* (?:${count}|${count + 1}) EXISTS`));
  const flags = await reader.say("e UID FETCH 8999:9000 (FLAGS)", /e OK .*\r\n$/);
  expect(flags).toMatch(/\* 8998 FETCH \(UID 8999 FLAGS \(\)\)/);
  expect(flags).toMatch(/\* 8999 FETCH \(UID 9000 FLAGS \(\$Late\)\)/);

  // Changes on the sessions that lived through it are made, and seen by the others.
  await idler.done();
  await idler.ok("UID STORE 5000 +FLAGS (\\Flagged)");
  await other.ok("NOOP");
  const { untagged } = await other.ok("UID FETCH 5000 (FLAGS)");
  expect(untagged.map(fetchFlags)).toEqual([["\\Flagged", "\\Recent"]]);
  for (const client of [idler, other]) await client.logout();
  reader.close();
});

test("kill -9 in the middle of a POP3 RETR: the message and the session go on, QUIT deletes", {
  timeout: 240_000,
}, async () => {
  const user = "u2";
  const long = Buffer.from(
    `Subject: long\r\n\r\n${"0123456789abcdefghijklmnopqrstuvwxyz\r\n".repeat(800_000)}`,
  );
  const writer = await session(user, "g2");
  await writer.ok("APPEND INBOX ", long);
  await writer.ok("APPEND INBOX ", numbered(2));
  const reader = await Reader.connect(cluster.gateway("g1").pop3);
  await reader.say(`USER ${user}`, /^\+OK.*\r\n$/);
  await reader.say(`PASS ${cluster.ports.password}`, /^\+OK.*\r\n$/);
  const uidl = await reader.say("UIDL", /\r\n\.\r\n$/);
  reader.send("RETR 1");
  await reader.until((_, bytes) => bytes > 300_000);
  await cluster.kill(await nodeOf(user));
  await reader.until((tail) => tail.endsWith("\r\n.\r\n"));
  const answer = reader.take();
  const start = answer.indexOf("\r\n") + 2;
  expect(answer.subarray(start, -3).equals(long)).toBe(true);
  expect(await reader.say("UIDL", /\r\n\.\r\n$/)).toBe(uidl);
  expect(await reader.say("RETR 2", /\r\n\.\r\n$/)).toContain("X-Number: 2\r\n");
  await reader.say("DELE 1", /^\+OK.*\r\n$/);
  expect(await reader.say("QUIT", /\r\n$/)).toMatch(/^\+OK/);
  await writer.ok("SELECT INBOX");
  const { untagged } = await writer.ok("UID FETCH 1:* (FLAGS)");
  expect(untagged.filter(({ text }) => text.includes("FETCH")).map(({ text }) => text)).toEqual([
    "* 1 FETCH (UID 2 FLAGS (\\Seen \\Recent))",
  ]);
  await writer.logout();
});
