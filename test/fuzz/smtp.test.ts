// SMTP and LMTP sessions made of mutated dialogues: no crash, no hang, the same replies and the same
// stored bytes however the stream is cut, and nothing stored that was not ended.
import { connect } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { uid, uidValidity, mailboxId } from "../../src/mail/ids.ts";
import { startTestSmtp, type TestSmtp, turn, withoutTrace } from "../unit/smtp/support.ts";

interface Outcome {
  readonly replies: string;
  readonly stored: readonly string[];
}

let stored: string[] = [];

async function startCapturing(kind: "relay" | "lmtp"): Promise<TestSmtp> {
  return startTestSmtp({
    kind,
    tls: "no",
    limits: { messageBytesMax: 500, badCommandsMax: 30, lineBytesMax: 600, textLineBytesMax: 80 },
    wrap: (store) =>
      new Proxy(store, {
        get: (target, name: keyof typeof store) =>
          name === "deliver" ? capture : target[name].bind(target),
      }),
  });
}

const capture: TestSmtp["services"]["store"]["deliver"] = (request) => {
  if (request.source.kind === "bytes")
    stored.push(Buffer.from(request.source.bytes).toString("latin1"));
  return Promise.resolve(
    request.recipients.map(() => ({
      ok: true,
      mailbox: mailboxId(1),
      uidValidity: uidValidity(1),
      uid: uid(1),
    })),
  );
};

/** Ends any state: counted bytes, data, a half line; then the session. */
const ending = Buffer.from(`${"x".repeat(64)}\r\n.\r\n${"QUIT\r\n".repeat(3)}`);

/** Sends the bytes, cut at these places, and returns what came back and what was stored. */
async function talk(port: number, input: Buffer, cuts: readonly number[]): Promise<Outcome> {
  stored = [];
  const bytes = Buffer.concat([input, ending]);
  const edges = [...new Set(cuts.map((cut) => cut % bytes.length)), bytes.length];
  edges.sort((a, b) => a - b);
  let replies = "";
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("data", (chunk: Buffer) => {
    replies += chunk.toString("latin1");
  });
  const closed = new Promise<void>((resolve, reject) => {
    socket.setTimeout(5000, () => reject(new Error(`hangs after ${JSON.stringify(replies)}`)));
    socket.once("close", () => resolve());
    // A server that closed may answer the rest with a reset.
    socket.on("error", () => undefined);
  });
  let at = 0;
  for (const edge of edges) {
    socket.write(bytes.subarray(at, edge));
    at = edge;
    await turn();
  }
  await closed;
  return { replies: replies.replaceAll(/7ZZ\d+/g, "ID"), stored: stored.map(withoutTrace) };
}

const fragments = fc.constantFrom(
  "EHLO a.example.org\r\n",
  "LHLO a.example.org\r\n",
  "MAIL FROM:<a@example.org>\r\n",
  "MAIL FROM:<a@example.org> BODY=BINARYMIME SIZE=10\r\n",
  "RCPT TO:<u1@pabal.test>\r\n",
  "RCPT TO:<nobody@pabal.test>\r\n",
  "RCPT TO:<u2@pabal.test>\r\n",
  "DATA\r\n",
  "Subject: x\r\n\r\ntext\r\n.\r\n",
  "\r\n.\r\n",
  "\n.\n",
  "\r.\r",
  "\r\n.\n",
  "\r\n..\r\n",
  ".\r\n",
  "BDAT 6\r\nabc\r\n\r",
  "BDAT 10 LAST\r\nx\r\n.\r\nyz\r\n",
  "BDAT 0 LAST\r\n",
  "BDAT x\r\n",
  "RSET\r\n",
  "NOOP\r\n",
  `NOOP ${"y".repeat(700)}\r\n`,
  "VRFY x\n",
  "AUTH PLAIN\r\n",
  "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
  "\0\r\n",
  `${"z".repeat(100)}\r\n`,
  `${"long text\r\n".repeat(60)}`,
);
const hello = (kind: string): string => `${kind === "lmtp" ? "LHLO" : "EHLO"} a.example.org\r\n`;
const flow = "MAIL FROM:<a@example.org>\r\nRCPT TO:<u1@pabal.test>\r\nDATA\r\n";
const mutation = fc.record({
  at: fc.nat(2000),
  bytes: fc.constantFrom("\r", "\n", ".", "\0", " ", "\xff", ">", ""),
  drop: fc.nat(3),
});

function dialogue(kind: string): fc.Arbitrary<Buffer> {
  return fc
    .tuple(
      fc.array(fc.oneof({ weight: 3, arbitrary: fragments }, fc.constant(flow)), { maxLength: 14 }),
      fc.array(mutation, { maxLength: 4 }),
    )
    .map(([parts, mutations]) => {
      let text = hello(kind) + parts.join("");
      for (const { at, bytes, drop } of mutations) {
        const place = at % (text.length + 1);
        text = text.slice(0, place) + bytes + text.slice(place + drop);
      }
      return Buffer.from(text, "latin1");
    });
}

describe.each(["relay", "lmtp"] as const)("a %s session", (kind) => {
  let smtp: TestSmtp;
  beforeAll(async () => {
    smtp = await startCapturing(kind);
  });
  afterAll(() => smtp.close());

  test("is answered and stored the same however the stream is cut", async () => {
    await fc.assert(
      fc.asyncProperty(
        dialogue(kind),
        fc.array(fc.nat(4000), { maxLength: 12 }),
        async (input, cuts) => {
          const whole = await talk(smtp.port, input, []);
          expect(await talk(smtp.port, input, cuts)).toEqual(whole);
          expect(whole.replies).toMatch(
            /^220 .*\r\n(?:[2-5]\d\d[ -].*\r\n)*(?:221|421|501) .*\r\n$/,
          );
          for (const message of whole.stored) checkEnded(message, input);
        },
      ),
      { numRuns: 250 },
    );
  });

  test("byte by byte, too", async () => {
    const input = Buffer.from(
      `${hello(kind)}${flow}Subject: x\r\n\r\n..\n.\r\r\n.\r\n${flow}BDAT 3\r\n`,
      "latin1",
    );
    const every = Array.from({ length: input.length + 100 }, (_, i) => i);
    expect(await talk(smtp.port, input, every)).toEqual(await talk(smtp.port, input, []));
  });
});

/** What was stored by DATA stood before a CRLF.CRLF; a counted message has its LAST. */
function checkEnded(message: string, input: Buffer): void {
  const sent = Buffer.concat([input, ending]).toString("latin1");
  // Mutations put further spaces in, which are taken.
  const counted = /BDAT +\d+ +LAST/i.test(sent);
  const pieces = `\r\n${sent}`.split("\r\n.\r\n").slice(0, -1);
  const known = pieces.some((piece) => normalised(piece).endsWith(normalised(message)));
  expect(known || counted).toBe(true);
}

/** Without what decoding may change: line ends and dots. */
function normalised(text: string): string {
  return text.replaceAll(/[\r\n.]+/g, "");
}
