// FETCH: what is rendered, sections and partials, large literals in pieces; and reading one message.
// Exact ENVELOPEs and BODYSTRUCTUREs are the indexer's tests.

import { describe, expect, test } from "vitest";
import { uid } from "../../src/mail/ids.ts";
import type {
  FetchRequest,
  FetchSection,
  MailStore,
  Principal,
} from "../../src/mail/mail-store.ts";
import { indexMessage } from "../../src/mail/mime/indexer.ts";
import type { Fixture } from "./mail-store.ts";
import * as kit from "./mail-store-kit.ts";
import { codeOf, message, never, open } from "./mail-store-kit.ts";

const inner = "Subject: inner\r\nX-Kind: embedded\r\n\r\ninner body\r\n";
const parts = [
  "From: a@b.test\r\nSubject: outer\r\nX-Long: one\r\n\ttwo\r\nsubject: again\r\n",
  'Content-Type: multipart/mixed; boundary="b"\r\n\r\npreamble\r\n',
  "--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n",
  "\r\ncaf=C3=A9 =\r\nend\r\n",
  "--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n",
  "AAECA/8=\r\n",
  `--b\r\nContent-Type: message/rfc822\r\n\r\n${inner}\r\n`,
  '--b\r\nContent-Type: multipart/alternative; boundary="c"\r\n\r\n',
  "--c\r\n\r\nplain\r\n--c\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--c--\r\n",
  "--b--\r\nepilogue\r\n",
];
const whole = parts.join("");
const header = `${parts[0]}Content-Type: multipart/mixed; boundary="b"\r\n\r\n`;

type Wanted = Omit<FetchSection, "label">;

const sections: readonly (readonly [string, Wanted, string])[] = [
  ["BODY[]", { path: [], kind: "body" }, whole],
  ["BODY[HEADER]", { path: [], kind: "header" }, header],
  ["RFC822.TEXT", { path: [], kind: "text" }, whole.slice(header.length)],
  ["BODY[1]", { path: [1], kind: "body" }, "caf=C3=A9 =\r\nend"],
  ["BODY[2]", { path: [2], kind: "body" }, "AAECA/8="],
  ["BODY[3]", { path: [3], kind: "body" }, inner],
  ["BODY[3.HEADER]", { path: [3], kind: "header" }, inner.slice(0, -"inner body\r\n".length)],
  ["BODY[3.TEXT]", { path: [3], kind: "text" }, "inner body\r\n"],
  ["BODY[3.1]", { path: [3, 1], kind: "body" }, "inner body\r\n"],
  ["BODY[3.MIME]", { path: [3], kind: "mime" }, "Content-Type: message/rfc822\r\n\r\n"],
  ["BODY[4.2]", { path: [4, 2], kind: "body" }, "<p>html</p>"],
  ["BODY[4.1.MIME]", { path: [4, 1], kind: "mime" }, "\r\n"],
  [
    "BODY[HEADER.FIELDS (SUBJECT x-long)]",
    { path: [], kind: "fields", fields: ["SUBJECT", "x-long"] },
    "Subject: outer\r\nX-Long: one\r\n\ttwo\r\nsubject: again\r\n\r\n",
  ],
  [
    "BODY[HEADER.FIELDS.NOT (Subject X-Long Content-Type)]",
    { path: [], kind: "fieldsNot", fields: ["Subject", "X-Long", "Content-Type"] },
    "From: a@b.test\r\n\r\n",
  ],
  ["BODY[HEADER.FIELDS (X-None)]", { path: [], kind: "fields", fields: ["X-None"] }, "\r\n"],
  [
    "BODY[3.HEADER.FIELDS (x-kind)]",
    { path: [3], kind: "fields", fields: ["x-kind"] },
    "X-Kind: embedded\r\n\r\n",
  ],
  ["BODY[]<0>", { path: [], kind: "body", partial: { start: 0, length: 9 } }, whole.slice(0, 9)],
  ["BODY[]<5>", { path: [], kind: "body", partial: { start: 5, length: 7 } }, whole.slice(5, 12)],
  ["BODY[1]<20>", { path: [1], kind: "body", partial: { start: 20, length: 9 } }, ""],
  ["BODY[1]<9>", { path: [1], kind: "body", partial: { start: 9, length: 4e9 } }, " =\r\nend"],
  ["BINARY[1]", { path: [1], kind: "binary" }, "caf\xc3\xa9 end"],
  ["BINARY[2]", { path: [2], kind: "binary" }, "\0\x01\x02\x03\xff"],
  ["BINARY[2]<3>", { path: [2], kind: "binary", partial: { start: 3, length: 9 } }, "\x03\xff"],
  ["BINARY.SIZE[2]", { path: [2], kind: "binarySize" }, "5"],
];

/** Parts that are not there. RFC 9051 §6.4.5: NIL. */
const missing: readonly (readonly [string, Wanted])[] = [
  ["BODY[5]", { path: [5], kind: "body" }],
  ["BODY[1.1]", { path: [1, 1], kind: "body" }],
  ["BODY[3.2]", { path: [3, 2], kind: "body" }],
  ["BODY[1.HEADER]", { path: [1], kind: "header" }],
  ["BODY[9.MIME]", { path: [9], kind: "mime" }],
];

export function fetchTests(use: Fixture): void {
  describe("FETCH", () => {
    test("each item is rendered once, for every message that is there, by UID", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const bodies = [message("one"), Buffer.from(whole), message("three"), message("four")];
      for (const bytes of bodies) await kit.deliver(store, who, bytes);
      const { id } = (await open(store, who)).info;
      await store.expunge(who, { ...kit.change(), mailbox: id, uids: [3, 3], force: true }, never);
      const items = {
        flags: true,
        internalDate: true,
        size: true,
        envelope: true,
        bodyStructure: true,
        body: true,
        modSeq: true,
      };
      const all = await kit.fetch(store, who, id, items, { uids: [1, 99] });
      expect([...all.keys()]).toEqual([1, 2, 4]);
      for (const [at, found] of all) {
        const bytes = bodies[at - 1] ?? Buffer.alloc(0);
        const index = indexMessage(bytes);
        expect([...found.keys()].sort()).toEqual(
          "UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY MODSEQ".split(" ").sort(),
        );
        expect(found.get("UID")).toBe(String(at));
        expect(found.get("FLAGS")).toBe("()");
        expect(found.get("RFC822.SIZE")).toBe(String(bytes.length));
        expect(found.get("ENVELOPE")).toBe(Buffer.from(index.envelope).toString("latin1"));
        const structure = Buffer.from(index.bodyStructure).toString("latin1");
        expect(found.get("BODYSTRUCTURE")).toBe(structure);
        expect(found.get("MODSEQ")).toMatch(/^\(\d+\)$/);
        expect(found.get("INTERNALDATE")).toMatch(
          /^[ \d]\d-[A-Z][a-z]{2}-\d{4} \d\d:\d\d:\d\d \+0000$/,
        );
      }
      expect(all.get(1)?.get("BODY")).toMatch(/^\("text" "plain" .* "7bit" 8 1\)$/i);
    });

    test("an empty set and UIDs that were never given yield nothing", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await kit.deliver(store, who);
      const { id } = (await open(store, who)).info;
      for (const uids of [[], [2, 0xffff_ffff]]) {
        expect((await kit.fetch(store, who, id, { flags: true }, { uids })).size).toBe(0);
      }
    });

    test("of 300 messages comes whole and in order", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const source = Array.from({ length: 300 }, (_, at) => message(`${at}`, "x".repeat(at * 7)));
      for (let at = 0; at < source.length; at += 100) {
        const messages = source.slice(at, at + 100).map((bytes) => kit.appendMessage(bytes));
        await store.append(who, { ...kit.change(), mailbox: "INBOX", messages }, never);
      }
      const { id } = (await open(store, who)).info;
      const label = "BODY[]";
      const items = { flags: true, sections: [{ path: [], kind: "body" as const, label }] };
      const all = await kit.fetch(store, who, id, items);
      expect([...all.keys()]).toEqual(source.map((_, at) => at + 1));
      const bodies = [...all.values()].map((found) => found.get(label));
      expect(bodies).toEqual(source.map((bytes) => bytes.toString("latin1")));
    });
  });

  describe("sections", () => {
    test.each(sections)("%s", async (label, section, expected) => {
      const { store, who, id } = await withParts(use);
      const items = await kit.fetchOne(store, who, id, 1, { sections: [{ ...section, label }] });
      expect(items.get(label)).toBe(expected);
    });

    test("many at once, each under its label", async () => {
      const { store, who, id } = await withParts(use);
      const wanted = sections.map(([label, section]) => ({ ...section, label }));
      const items = await kit.fetchOne(store, who, id, 1, { size: true, sections: wanted });
      for (const [label, , expected] of sections) expect(items.get(label)).toBe(expected);
    });

    test.each(missing)("%s is NIL: there is no such part", async (label, section) => {
      const { store, who, id } = await withParts(use);
      const items = await kit.fetchOne(store, who, id, 1, { sections: [{ ...section, label }] });
      expect(items.get(label)).toBe("NIL");
    });
  });

  describe("large messages", () => {
    const large = message("large", "0123456789abcdef\r\n".repeat(150_000));

    test("come in pieces that a slow reader may take its time for", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await deliverBlob(store, who, large);
      await kit.deliver(store, who, message("small"));
      const { id } = (await open(store, who)).info;
      const label = "BODY[]";
      const items = { flags: true, sections: [{ path: [], kind: "body" as const, label }] };
      let longest = 0;
      const request = { mailbox: id, uids: [1, 9], items };
      for await (const chunk of store.fetch(who, request, never)) {
        longest = Math.max(longest, chunk.bytes.length);
      }
      expect(longest).toBeLessThan(1_100_000);
      const all = await kit.fetch(store, who, id, items);
      expect(all.get(1)?.get(label)).toBe(large.toString("latin1"));
      expect(all.get(2)?.get(label)).toBe(message("small").toString("latin1"));
    });

    test("a partial of one is cut right", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await deliverBlob(store, who, large);
      const { id } = (await open(store, who)).info;
      for (const start of [0, 65_530, 1_000_000, large.length - 5, large.length]) {
        const label = `BODY[]<${start}>`;
        const partial = { start, length: 70_000 };
        const wanted = { path: [], kind: "body" as const, label, partial };
        const items = await kit.fetchOne(store, who, id, 1, { sections: [wanted] });
        const expected = large.subarray(start, start + 70_000).toString("latin1");
        expect(items.get(label) === expected).toBe(true);
      }
    });

    test("say where their sections begin, and are readable behind their EXPUNGE", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const parted = Buffer.from(whole + "padding\r\n".repeat(30_000));
      await deliverBlob(store, who, large);
      await deliverBlob(store, who, parted);
      const { id } = (await open(store, who)).info;
      const sections = [
        { path: [], kind: "body" as const, label: "BODY[]" },
        { path: [1], kind: "body" as const, label: "BODY[1]" },
      ];
      const items = { flags: true, size: true, modSeq: true, sections };
      for (const n of [1, 2]) {
        const before = await rendered(store, who, { mailbox: id, uids: [n, n], items });
        const head = /^UID \d FLAGS \(\) MODSEQ \(\d+\) RFC822.SIZE \d+/.exec(before.text)?.[0];
        expect(before.sectionsAt).toBe(head?.length);
        const all = { ...kit.change(), mailbox: id, uids: [n, n], force: true };
        await store.expunge(who, all, never);
        expect((await rendered(store, who, { mailbox: id, uids: [n, n], items })).text).toBe("");
        const rest = { mailbox: id, uids: [n, n], items: { sections }, evenGone: true };
        const behind = await rendered(store, who, rest);
        expect(behind.text === `UID ${n}${before.text.slice(before.sectionsAt)}`).toBe(true);
        const offset = 200_000;
        const request = { mailbox: id, uid: uid(n), offset };
        const read: Uint8Array[] = [];
        for await (const piece of store.readMessage(who, request, never)) {
          read.push(Uint8Array.from(piece));
        }
        expect(Buffer.concat(read).equals((n === 1 ? large : parted).subarray(offset))).toBe(true);
      }
    });

    test("an aborted FETCH ends, and the store goes on", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      await deliverBlob(store, who, large);
      const { id } = (await open(store, who)).info;
      const stopping = new AbortController();
      const sections = [{ path: [], kind: "body" as const, label: "BODY[]" }];
      const request = { mailbox: id, uids: [1, 1], items: { sections } };
      await expect(
        (async () => {
          for await (const _ of store.fetch(who, request, stopping.signal)) stopping.abort();
        })(),
      ).rejects.toThrow();
      expect((await open(store, who)).info.messages).toBe(1);
    });
  });

  describe("readMessage", () => {
    test("yields the stored bytes from any offset", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const bytes = message("offsets", "abc\r\n".repeat(40_000));
      await kit.deliver(store, who, bytes);
      const { id } = (await open(store, who)).info;
      for (const offset of [0, 1, 65_536, bytes.length - 1, bytes.length, bytes.length + 9]) {
        const read: Uint8Array[] = [];
        const request = { mailbox: id, uid: uid(1), offset };
        for await (const piece of store.readMessage(who, request, never)) {
          read.push(Uint8Array.from(piece));
        }
        expect(Buffer.concat(read).equals(bytes.subarray(offset))).toBe(true);
      }
    });

    test("of a message that is gone is INVALID", async () => {
      const { store, addAccount } = use();
      const who = await addAccount();
      const { id } = (await open(store, who)).info;
      const request = { mailbox: id, uid: uid(7), offset: 0 };
      expect(await codeOf(store.readMessage(who, request, never))).toBe("INVALID");
    });
  });
}

/** One message's answer, joined, and where it said that its sections begin. */
async function rendered(store: MailStore, who: Principal, request: FetchRequest) {
  let text = "";
  let sectionsAt = 0;
  for await (const piece of store.fetch(who, request, never)) {
    if (piece.sectionsAt !== undefined) sectionsAt = text.length + piece.sectionsAt;
    text += Buffer.from(piece.bytes).toString("latin1");
  }
  return { text, sectionsAt };
}

async function withParts(use: Fixture) {
  const { store, addAccount } = use();
  const who = await addAccount();
  await kit.deliver(store, who, Buffer.from(whole));
  return { store, who, id: (await open(store, who)).info.id };
}

async function deliverBlob(store: MailStore, who: Principal, bytes: Uint8Array): Promise<void> {
  const request = kit.deliverRequest([who], bytes);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += 60_000) {
      yield bytes.subarray(at, at + 60_000);
      await Promise.resolve();
    }
  }
  const blob = await store.writeBlob(who.shard, request.deliveryId, chunks(), never);
  const [outcome] = await store.deliver({ ...request, source: { kind: "blob", blob } }, never);
  kit.stored(outcome);
}
