// POP3 under any bytes in any chunks: the session function by itself for speed, and a listener on
// loopback for the rest. Nothing may crash, hang, or depend on where the stream was cut.

import fc from "fast-check";
import { expect, test } from "vitest";
import { LineBuffer } from "../../src/gateway/pop3/line-buffer.ts";
import { startSession, stepSession } from "../../src/gateway/pop3/session.ts";
import type { Pop3Effect, Pop3Event, Pop3State } from "../../src/gateway/pop3/state.ts";
import { mailboxId, uidValidity } from "../../src/mail/ids.ts";
import { LineClient } from "../support/line-client.ts";
import { startPop3Server } from "../support/pop3-server.ts";

const facts = {
  tls: false,
  tlsAvailable: true,
  plaintextLogin: true,
  mechanisms: ["PLAIN", "LOGIN"] as const,
  hostName: "mail.pabal.test",
  badCommandsMax: 10,
};
const contents = {
  mailbox: mailboxId(1),
  uidValidity: uidValidity(7),
  uids: Uint32Array.of(1, 4, 9),
  sizes: Float64Array.of(10, 20, 30),
};

const words = fc.constantFrom(
  ..."USER PASS AUTH PLAIN LOGIN STLS UTF8 CAPA STAT LIST UIDL RETR TOP DELE RSET NOOP QUIT".split(
    " ",
  ),
  ..."u1 1 2 3 4 0 -1 00000000001 99999999999 * = AHUxAHNlY3JldA== + __proto__ constructor".split(
    " ",
  ),
);
const separators = fc.constantFrom(" ", "\r\n", "\r\n", "\n", "  ", "\r", "\0", "\t");
const likely = fc
  .array(fc.tuple(words, separators), { maxLength: 40 })
  .map((pairs) => Buffer.from(pairs.flat().join("")));
const long = fc.nat(40_000).map((length) => Buffer.alloc(length, "A"));
const random = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
const input = fc
  .array(fc.oneof({ weight: 4, arbitrary: likely }, random, long), { maxLength: 4 })
  .map((parts) => Buffer.concat(parts));

test("the answers don't depend on where the stream was cut, and none has a line end inside", () => {
  fc.assert(
    fc.property(input, fc.array(fc.nat(60_000), { maxLength: 20 }), (bytes, cuts) => {
      const whole = talk([bytes]);
      expect(talk(split(bytes, cuts))).toEqual(whole);
      for (const line of whole) expect(line).toMatch(/^(\+OK|-ERR|\+) ?[^\r\n\0]*$/);
    }),
    { numRuns: 10_000 },
  );
});

test("one byte at a time gives the same answers", () => {
  fc.assert(
    fc.property(likely, (bytes) => {
      expect(talk([...bytes].map((byte) => Buffer.of(byte)))).toEqual(talk([bytes]));
    }),
    { numRuns: 2_000 },
  );
});

test("4 KiB of anything is answered within 50 ms", () => {
  const worst = ["\n", "\r\n", "A", "AUTH PLAIN ", "\0", "LIST\r\n", " ", "AUTH\r\n"];
  for (const part of worst) {
    const bytes = Buffer.alloc(4096, part);
    // The fastest of three: what the code takes, whatever else the machine does.
    const times = [1, 2, 3].map(() => {
      const startMs = performance.now();
      talk([...bytes].map((byte) => Buffer.of(byte)));
      return performance.now() - startMs;
    });
    expect(Math.min(...times)).toBeLessThan(50);
  }
});

test("a listener outlives whatever is sent to it", async () => {
  const server = await startPop3Server({
    messages: ["Subject: a\r\n\r\n.b\r\n", "c\nd"],
    limits: { badCommandsMax: 1_000 },
  });
  try {
    await fc.assert(
      fc.asyncProperty(input, async (bytes) => {
        const client = await LineClient.connect({ port: server.port });
        client.send(bytes);
        client.end();
        await drained(client);
        client.close();
      }),
      { numRuns: 150 },
    );
    const client = await LineClient.connect({ port: server.port });
    expect(await client.readLine()).toMatch(/^\+OK/);
    client.close();
  } finally {
    await server.close();
  }
});

/** Reads all that comes until the server closes. */
async function drained(client: LineClient): Promise<void> {
  for (;;) {
    const ended = await client.readEnd().then(
      () => true,
      () => false,
    );
    if (ended || client.unread() === "") return;
    await client.readBytes(client.unread().length).catch(() => client.readLine());
  }
}

/** Every reply line of a session that sees these chunks; each login succeeds with three messages. */
function talk(chunks: readonly Uint8Array[]): readonly string[] {
  const lines: string[] = [];
  const buffer = new LineBuffer();
  let [state] = startSession(facts);
  for (const chunk of chunks) {
    if (chunk.length > 0) buffer.push(chunk);
    for (;;) {
      const most = state.inSasl === undefined ? 512 : 16_384;
      const limit = (start: Uint8Array): number =>
        /^auth /i.test(Buffer.from(start).toString("latin1")) ? 16_384 : most;
      const line = buffer.next(limit);
      if (line === undefined) break;
      state = handle(state, line, lines);
    }
  }
  return lines;
}

function handle(before: Pop3State, first: Pop3Event, lines: string[]): Pop3State {
  let state = before;
  const events: Pop3Event[] = [first];
  for (let event = events.shift(); event !== undefined; event = events.shift()) {
    const [next, effects] = stepSession(state, event);
    state = next;
    for (const effect of effects) {
      const outcome = perform(effect, lines);
      if (outcome !== undefined) events.push(outcome);
    }
  }
  return state;
}

function perform(effect: Pop3Effect, lines: string[]): Pop3Event | undefined {
  switch (effect.kind) {
    case "reply":
      lines.push(effect.line);
      return undefined;
    case "lines":
      lines.push(effect.first, ...[...effect.lines].map((line) => `+ ${line}`));
      return undefined;
    case "message":
      lines.push(effect.first);
      return effect.bodyLines === undefined
        ? { kind: "retrieved", number: effect.number }
        : undefined;
    case "startSasl":
      return effect.initial === undefined
        ? { kind: "challenge", bytes: Buffer.from("?") }
        : { kind: "loggedIn", contents };
    case "login":
    case "continueSasl":
      return { kind: "loggedIn", contents };
    case "update":
      lines.push(`+ ${JSON.stringify(effect)}`);
      return { kind: "updated" };
    default:
      return undefined; // The session goes on in the clear: what STLS drops depends on the chunks.
  }
}

function split(bytes: Buffer, cuts: readonly number[]): readonly Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length];
  places.sort((a, b) => a - b);
  return places.slice(1).map((place, at) => bytes.subarray(places[at], place));
}
