// Headers on the way in: found at any split, counted for loops, checked and mended on submission.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { HeaderGate, type HeaderPolicy } from "../../../src/gateway/smtp/header-gate.ts";
import { relayPolicy, submissionPolicy } from "../../../src/gateway/smtp/header-policy.ts";
import type { DirectoryRow } from "../../../src/mail/account.ts";
import { makeAccountId, shardId } from "../../../src/mail/ids.ts";

const user: DirectoryRow = {
  account: makeAccountId(shardId(1), 1),
  shard: shardId(1),
  name: "u1@pabal.test",
  aliases: ["민수@pabal.test"],
  state: "active",
  credentials: { hash: "" },
  credVersion: 1,
  userVersion: 1,
  overQuota: false,
};
const added = "Date: Sun, 22 Nov 2026 16:00:00 +0000\r\nMessage-ID: <1@mail.pabal.test>\r\n";
const submission = submissionPolicy({
  hopsMax: 50,
  user,
  messageId: "<1@mail.pabal.test>",
  nowMs: Date.UTC(2026, 10, 22, 16),
});

interface Passed {
  readonly text: string;
  readonly refusal: string | undefined;
}

/** The message through a gate, cut at these places. */
function pass(message: string, policy: HeaderPolicy, cuts: readonly number[] = []): Passed {
  const gate = new HeaderGate(policy);
  const bytes = Buffer.from(message);
  const out: Buffer[] = [];
  const edges = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort(
    (a, b) => a - b,
  );
  let at = 0;
  for (const edge of edges) {
    const piece = bytes.subarray(at, edge);
    if (piece.length > 0) out.push(gate.push(piece) ?? Buffer.alloc(0));
    at = edge;
  }
  if (gate.refusal === undefined) out.push(gate.finish() ?? Buffer.alloc(0));
  return { text: Buffer.concat(out).toString(), refusal: gate.refusal };
}

const spy =
  (seen: string[]): HeaderPolicy =>
  (header, complete) => {
    seen.push(`${complete} ${header.toString()}`);
    return { ok: true, header };
  };

describe("the header gate", () => {
  test("hands over exactly the header, at any split, and passes every byte", () => {
    const lines = fc.constantFrom("A: b\r\n", " folded\r\n", "\r\n", "x", "\r", "\n");
    fc.assert(
      fc.property(
        fc.array(lines, { maxLength: 8 }),
        fc.array(fc.nat(60), { maxLength: 6 }),
        (parts, cuts) => {
          const message = `A: b\r\n${parts.join("")}`;
          const end = message.indexOf("\r\n\r\n");
          const seen: string[] = [];
          expect(pass(message, spy(seen), cuts).text).toBe(message);
          expect(seen).toEqual([`true ${end === -1 ? message : message.slice(0, end + 4)}`]);
        },
      ),
    );
  });

  test.each([
    ["", ""],
    ["\r\n", "\r\n"],
    ["\r\nbody\r\n\r\nmore", "\r\n"],
    ["Subject : x\r\n\r\n", "Subject : x\r\n\r\n"],
    ["From u1 Sun Nov 22\r\nA: b\r\n\r\nx", "From u1 Sun Nov 22\r\nA: b\r\n\r\n"],
  ])("of %j the header is %j, at any split", (message, header) => {
    for (let cut = 0; cut <= message.length; cut++) {
      const seen: string[] = [];
      expect(pass(message, spy(seen), [cut]).text).toBe(message);
      expect(seen).toEqual([`true ${header}`]);
    }
  });

  test.each(["hello world\r\n\r\nmore\r\n", " folded?\r\nA: b\r\n\r\n", ": x\r\n", "안녕: x\r\n"])(
    "%j has no header: an empty line sets it off",
    (message) => {
      for (let cut = 0; cut <= message.length; cut++) {
        expect(pass(message, relayPolicy(50), [cut]).text).toBe(`\r\n${message}`);
        expect(pass(message, submission, [cut]).text).toBe(`${added}\r\n${message}`);
      }
    },
  );

  test("a header over 256 KiB passes on a relay, and is refused on submission", () => {
    const message = `A: b\r\n${"X: y\r\n".repeat(60_000)}From: evil@example.org\r\n\r\n`;
    expect(pass(message, relayPolicy(50), [100_000]).text).toBe(message);
    expect(pass(message, submission, [100_000]).refusal).toMatch(/^552 5\.3\.4 Header longer/);
  });
});

describe("hops", () => {
  test("Received fields are counted whatever their case, folded lines and lookalikes are not", () => {
    const policy = relayPolicy(2);
    const ok =
      "Received: a\r\n received: b\r\nReceived-SPF: c\r\nRECEIVED : d\r\n\r\nReceived: e\r\n";
    expect(pass(ok, policy).refusal).toBeUndefined();
    expect(pass(`received: x\r\n${ok}`, policy).refusal).toMatch(/^554 5\.4\.6 Mail loop/);
  });
});

describe("a submitted header", () => {
  const body = "\r\nBcc: in the body\r\n";

  test("loses Bcc, folded over lines and repeated, and nothing else", () => {
    const message = `From: u1@pabal.test\r\nBCC: a@x,\r\n\tb@x\r\nDate: x\r\nBcc : c@x\r\nMessage-ID: <y>\r\nResent-Bcc: d@x\r\n${body}`;
    for (let cut = 0; cut < message.length; cut += 3) {
      expect(pass(message, submission, [cut]).text).toBe(
        `From: u1@pabal.test\r\nDate: x\r\nMessage-ID: <y>\r\n${body}`,
      );
    }
  });

  test("gets a Date and a Message-ID when it has none", () => {
    expect(pass(`From: u1@pabal.test\r\n${body}`, submission).text).toBe(
      `${added}From: u1@pabal.test\r\n${body}`,
    );
    expect(pass("", submission).text).toBe(added);
  });

  test.each([
    "From: u1@pabal.test",
    "From: Me <U1+news@Pabal.Test>",
    "From: =?utf-8?q?x?= <민수@pabal.test>, u1@pabal.test\r\nSender: u1@pabal.test",
    'From: "u1"@pabal.test (comment)',
    "Subject: without From",
  ])("may say %j", (fields) => {
    expect(pass(`${fields}\r\n${body}`, submission).refusal).toBeUndefined();
  });

  test.each([
    "From: evil@example.org",
    "From: u1@pabal.test, evil@example.org",
    "From: u1@pabal.test\r\nFrom: evil@example.org",
    "From: u1@pabal.test\r\nSender: evil@example.org",
    "From:\r\n\tevil@example.org",
    "FROM : evil@example.org",
    "From: u1",
    "From: group: u1@pabal.test, evil@example.org;",
    `From: ${"u1@pabal.test, ".repeat(100)}evil@example.org`,
    "From: <@u1@pabal.test:evil@example.org>",
  ])("may not say %j", (fields) => {
    expect(pass(`${fields}\r\n${body}`, submission).refusal).toMatch(/^553 5\.7\.1 /);
  });

  test("a refusal shows the address without what could break a reply", () => {
    const { refusal = "" } = pass(`From: <é\x00${"x".repeat(500)}@y>\r\n${body}`, submission);
    expect(refusal).toMatch(/^553 5\.7\.1 [ -~]+$/);
    expect(refusal.length).toBeLessThan(300);
  });
});
