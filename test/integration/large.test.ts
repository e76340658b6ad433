// Sizes: a message of 50 MiB passes through every process in little memory and comes back byte for
// byte, by POP3 and IMAP; thousands of idle connections are held. `--long` holds 10,000.

import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { memoryOf } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

const mib = 1024 * 1024;
const connections = process.env.PABAL_TEST_LONG === "1" ? 10_000 : 2000;
let cluster: DevCluster;

beforeAll(async () => {
  cluster = await DevCluster.start({
    nodes: 2,
    users: 2,
    set: ["limits.messageBytes=64MiB", "limits.sessionsPerUser=20000"],
  });
}, 90_000);
afterAll(async () => {
  await cluster.destroy();
});

test("a message of 50 MiB: under 64 MiB more memory in each process, back byte for byte", {
  timeout: 120_000,
}, async () => {
  const { gateways, nodes, password } = cluster.ports;
  const members = [...gateways, ...nodes];
  // The peak counts from here on.
  for (const { pid } of members) writeFileSync(`/proc/${pid}/clear_refs`, "5");
  const before = new Map(members.map(({ id, pid }) => [id, memoryOf(pid)]));
  const head = "From: a@example.org\r\nSubject: large\r\nMIME-Version: 1.0\r\n\r\n";
  const line = Buffer.from(`${"0123456789abcdef".repeat(4)}\r\n`);
  const piece = Buffer.concat(Array.from({ length: 1000 }, () => line));
  const pieces = Math.ceil((50 * mib) / piece.length);
  const sent = createHash("sha256").update(head);
  const sender = await SmtpClient.connect(cluster.gateway("g1").smtp, 100_000);
  await sender.command("MAIL FROM:<a@example.org>");
  await sender.command("RCPT TO:<u1@pabal.test>");
  await sender.command("DATA");
  sender.send(head);
  for (let n = 0; n < pieces; n++) {
    sent.update(piece);
    sender.send(piece);
    if (n % 16 === 15) await sender.flushed();
  }
  sender.send(".\r\n");
  expect(await sender.reply()).toMatch(/^250 /);
  await sender.quit();
  const length = head.length + pieces * piece.length;
  const wanted = sent.digest("hex");

  const imap = [
    `a LOGIN u1 ${password}\r\n`,
    "b SELECT INBOX\r\n",
    "c FETCH * BODY.PEEK[]\r\n",
    "d LOGOUT\r\n",
  ].join("");
  expect(await tailHash(cluster.gateway("g2").imap, imap, /\{(\d+)\}\r\n$/, length)).toBe(wanted);

  const grown = members.map(({ id, pid }) => ({
    id,
    mib: Math.round((memoryOf(pid, "VmHWM") - (before.get(id) ?? 0)) / mib),
  }));
  process.stdout.write(`large: memory beyond that before, at most: ${JSON.stringify(grown)}\n`);
  expect(grown.filter((member) => member.mib >= 64)).toEqual([]);
});

test(`${connections} idle IMAP connections are held, and mail still arrives in one of them`, {
  timeout: 300_000,
}, async () => {
  const { password, gateways } = cluster.ports;
  const gateway = cluster.gateway("g1");
  const before = memoryOf(gateway.pid);
  const sockets: Socket[] = [];
  const closed: string[] = [];
  try {
    for (let from = 0; from < connections; from += 200) {
      const batch = Array.from({ length: Math.min(200, connections - from) }, () =>
        idle(gateway.imap, password, (why) => closed.push(why)),
      );
      sockets.push(...(await Promise.all(batch)));
    }
    const held = memoryOf(gateway.pid);
    process.stdout.write(
      `large: ${connections} idle connections: ${((held - before) / connections / 1024).toFixed(1)} KiB each\n`,
    );
    expect(closed).toEqual([]);
    const one = sockets[Math.floor(connections / 2)];
    const told = heard(one, /EXISTS/);
    const sender = await SmtpClient.connect(gateways[1]?.smtp ?? 0);
    const outcome = await sender.deliver({
      to: ["u2@pabal.test"],
      message: Buffer.from("Subject: new\r\n\r\nnew\r\n"),
    });
    expect(outcome.kind).toBe("accepted");
    await sender.quit();
    await told;
    expect(closed).toEqual([]);
    // The bound is ours; what a connection takes is in the log line above.
    expect((held - before) / connections).toBeLessThan(64 * 1024);
  } finally {
    for (const socket of sockets) socket.removeAllListeners("close").destroy();
  }
});

async function idle(
  port: number,
  password: string,
  onClose: (why: string) => void,
): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1" });
  socket.on("error", (error) => onClose(error.message));
  socket.on("close", () => onClose("closed"));
  await once(socket, "connect", { signal: AbortSignal.timeout(30_000) });
  const waiting = heard(socket, /^\+/m);
  socket.write(`a LOGIN u2 ${password}\r\nb SELECT INBOX\r\nc IDLE\r\n`);
  await waiting;
  return socket;
}

async function heard(socket: Socket | undefined, pattern: RegExp): Promise<void> {
  if (socket === undefined) throw new Error("no socket");
  let text = "";
  await new Promise<void>((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`no ${String(pattern)} in: ${text}`)), 60_000);
    const onData = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      if (!pattern.test(text)) return;
      clearTimeout(timer);
      socket.off("data", onData);
      socket.resume();
      done();
    };
    socket.on("data", onData);
  });
}

/** Hash of the last `length` bytes of the literal that `pattern` announces; nothing is kept. */
async function tailHash(
  port: number,
  say: string,
  pattern: RegExp,
  length: number,
): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1" });
  const hash = createHash("sha256");
  let [text, left] = ["", -1];
  await new Promise<void>((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`${left} bytes missing; ${text}`)), 60_000);
    socket.on("error", fail);
    socket.on("close", () =>
      fail(new Error(`closed with ${left} bytes missing; ${text.slice(-500)}`)),
    );
    socket.on("data", (chunk: Buffer) => {
      let at = 0;
      while (left < 0 && at < chunk.length) {
        text = (text + String.fromCharCode(chunk[at] ?? 0)).slice(-4000);
        at++;
        const match = text.endsWith("}\r\n") ? pattern.exec(text) : null;
        if (match !== null) left = Number(match[1]);
      }
      if (left <= 0) return;
      const part = chunk.subarray(at, at + left);
      // Above what was sent stand the trace fields.
      const trace = Math.max(0, left - length);
      if (part.length > trace) hash.update(part.subarray(trace));
      left -= part.length;
      if (left > 0) return;
      clearTimeout(timer);
      done();
    });
    socket.write(say);
  });
  socket.removeAllListeners("close").destroy();
  return hash.digest("hex");
}
