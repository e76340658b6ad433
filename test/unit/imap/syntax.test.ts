// Cursor, sequence sets, fetch items, search programs, list patterns: tables of cases.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chooseNames } from "../../../src/gateway/imap/list-names.ts";
import { matchesPattern } from "../../../src/gateway/imap/list-pattern.ts";
import { decideLiteral } from "../../../src/gateway/imap/literal-policy.ts";
import { defaultImapLimits } from "../../../src/gateway/imap/limits.ts";
import {
  addressGroup,
  isLoopback,
  plainAddress,
} from "../../../src/gateway/imap/client-address.ts";
import { uidSetIntersection } from "../../../src/mail/uid-set-algebra.ts";
import { Cursor } from "../../../src/gateway/imap/syntax/cursor.ts";
import { parseFetch } from "../../../src/gateway/imap/syntax/fetch-items.ts";
import { parseFlags } from "../../../src/gateway/imap/syntax/flags.ts";
import { parseSequenceSet, starValue } from "../../../src/gateway/imap/syntax/sequence-set.ts";
import { parseSearchProgram } from "../../../src/gateway/imap/syntax/search-program.ts";
import { SequenceWalk, View } from "../../../src/gateway/imap/view.ts";
import { ascending } from "./support.ts";
import { uidSetFromRanges, uidSetHas } from "../../../src/mail/uid-set.ts";

function cursorOf(text: string): Cursor {
  return new Cursor(Buffer.from(text, "latin1"), 32);
}

describe("cursor", () => {
  test.each([
    ["atom", "abc", "abc"],
    ["quoted", '"a b"', "a b"],
    ["escapes", String.raw`"a\"b\\c"`, String.raw`a"b\c`],
    ["an empty quoted string", '""', ""],
    ["literal", "{3}\r\na\nb", "a\nb"],
    ["literal without waiting", "{3+}\r\nabc", "abc"],
    ["literal behind a bare LF", "{3}\nabc", "abc"],
    ["UTF-8", '"\xec\x95\x88"', "안"],
    ["bracket", "a]b", "a]b"],
  ])("astring: %s", (_, text, expected) => {
    const cursor = cursorOf(text);
    expect(cursor.astringText()).toBe(expected);
    cursor.end();
    expect(cursor.fault).toBeUndefined();
  });

  test.each([
    ["nothing", ""],
    ["an open quoted string", '"abc'],
    ["a backslash at the end", '"abc\\'],
    ["NUL in a quoted string (CVE-2019-11500)", '"a\0b"'],
    ["CR in a quoted string", '"a\rb"'],
    ["LF in a quoted string", '"a\nb"'],
    ["an escape that is none", '"a\\nb"'],
    ["NUL in a literal", "{3}\r\na\0b"],
    ["a literal cut off", "{4}\r\nabc"],
    ["a literal without line end", "{3}abc"],
    ["broken UTF-8", '"\xff\xfe"'],
    ["a parenthesis", "("],
  ])("astring refuses %s", (_, text) => {
    const cursor = cursorOf(text);
    cursor.astringText();
    expect(cursor.fault).toBeDefined();
    expect(cursor.atEnd).toBe(true);
  });

  test("parentheses are bounded (CVE-2026-27857)", () => {
    const cursor = cursorOf("(".repeat(100_000));
    const nest = (): void => {
      cursor.list(nest);
    };
    nest();
    expect(cursor.fault).toBe("parentheses deeper than 32");
  });

  test("the first fault stays", () => {
    const cursor = cursorOf("x");
    cursor.fail("first");
    cursor.number();
    expect(cursor.fault).toBe("first");
  });

  test.each(["4294967296", "99999999999999999999", "", "x"])("%j is no 32-bit number", (text) => {
    const cursor = cursorOf(text);
    cursor.number();
    expect(cursor.ok).toBe(false);
  });
});

describe("sequence sets", () => {
  test.each<readonly [string, readonly number[]]>([
    ["1", [1, 1]],
    ["1:3,7", [1, 3, 7, 7]],
    ["*", [starValue, starValue]],
    ["*:4,2:1", [starValue, 4, 2, 1]],
  ])("%s", (text, ranges) => {
    expect(parseSequenceSet(cursorOf(text))).toEqual({ kind: "ranges", ranges });
  });
  test("$ is the saved result", () => {
    expect(parseSequenceSet(cursorOf("$"))).toEqual({ kind: "saved" });
  });
  test.each(["", "0", "1:", ":1", "1,,2", "1:0", "-1", "1;2", ",1"])("%j is refused", (text) => {
    const cursor = cursorOf(text);
    parseSequenceSet(cursor);
    cursor.end();
    expect(cursor.ok).toBe(false);
  });
});

describe("view", () => {
  const uidsOf = fc.uniqueArray(fc.integer({ min: 1, max: 200 }), { maxLength: 60 });

  test("removing and adding keep it as a sorted list would be", () => {
    const steps = fc.array(fc.tuple(fc.boolean(), uidsOf), { maxLength: 8 });
    fc.assert(
      fc.property(uidsOf, steps, (start, rounds) => {
        let model = ascending(start);
        const shared = Uint32Array.from(model);
        const view = new View(shared);
        for (const [add, values] of rounds) {
          if (add) {
            for (const value of ascending(values)) {
              const fits = value > (model.at(-1) ?? 0);
              expect(view.add(value)).toBe(fits);
              if (fits) model.push(value);
            }
          } else {
            const gone = uidSetFromRanges(values.map((value) => [value, value + 2] as const));
            const told: number[] = [];
            view.remove(gone, (sequence) => told.push(sequence));
            expect(told).toEqual(
              model.flatMap((uid, index) => (uidSetHas(gone, uid) ? [index + 1] : [])),
            );
            model = model.filter((uid) => !uidSetHas(gone, uid));
          }
          expect(Array.from({ length: view.count }, (_, i) => view.uidAt(i + 1))).toEqual(model);
        }
        expect([...shared]).toEqual(ascending(start));
      }),
    );
  });

  test("a walk finds what single look-ups find", () => {
    fc.assert(
      fc.property(uidsOf, uidsOf, (start, asked) => {
        const view = new View(Uint32Array.from(ascending(start)));
        const walk = new SequenceWalk(view);
        for (const uid of ascending(asked)) {
          expect(walk.sequenceOf(uid)).toBe(view.sequenceOf(uid));
        }
      }),
    );
  });

  test("intersection is that of the members", () => {
    const sets = fc
      .array(fc.tuple(fc.integer({ min: 1, max: 60 }), fc.nat(9)), { maxLength: 8 })
      .map((pairs) => uidSetFromRanges(pairs.map(([low, size]) => [low, low + size] as const)));
    fc.assert(
      fc.property(sets, sets, (a, b) => {
        const both = uidSetIntersection(a, b);
        for (let uid = 0; uid < 80; uid++) {
          expect(uidSetHas(both, uid)).toBe(uidSetHas(a, uid) && uidSetHas(b, uid));
        }
      }),
    );
  });
});

describe("fetch items", () => {
  test.each([
    ["ALL", { flags: true, internalDate: true, size: true, envelope: true }],
    ["FAST", { flags: true, internalDate: true, size: true }],
    ["(UID BODYSTRUCTURE)", { bodyStructure: true }],
    ["BODY", { body: true }],
    [
      "BODY.PEEK[1.2.HEADER.FIELDS.NOT (To)]<5.10>",
      {
        sections: [
          {
            path: [1, 2],
            kind: "fieldsNot",
            fields: ["To"],
            partial: { start: 5, length: 10 },
            label: "BODY[1.2.HEADER.FIELDS.NOT (To)]<5>",
          },
        ],
      },
    ],
    ["BODY.PEEK[3.1]", { sections: [{ path: [3, 1], kind: "body", label: "BODY[3.1]" }] }],
    ["BODY.PEEK[4.TEXT]", { sections: [{ path: [4], kind: "text", label: "BODY[4.TEXT]" }] }],
    ["BINARY.PEEK[1]", { sections: [{ path: [1], kind: "binary", label: "BINARY[1]" }] }],
    ["(BODY[] BODY.PEEK[])", { sections: [{ path: [], kind: "body", label: "BODY[]" }] }],
  ])("%s", (text, items) => {
    const cursor = cursorOf(text);
    expect(parseFetch(cursor, false).items).toEqual(items);
    expect(cursor.fault).toBeUndefined();
  });

  test.each([
    ["BODY[]", true],
    ["BODY.PEEK[]", false],
    ["RFC822", true],
    ["RFC822.HEADER", false],
    ["RFC822.TEXT", true],
    ["BINARY[1]", true],
    ["BINARY.SIZE[1]", false],
    ["(FLAGS BODYSTRUCTURE)", false],
  ])("%s sets \\Seen: %s", (text, setsSeen) => {
    expect(parseFetch(cursorOf(text), false).setsSeen).toBe(setsSeen);
  });
});

describe("flags", () => {
  test("system flags get their usual case, \\Recent is left out", () => {
    expect(parseFlags(cursorOf("(\\SEEN \\recent $x \\seen)"), false)).toEqual(["\\Seen", "$x"]);
  });
  test.each(["(\\Bogus)", "(\\*)", "(a", '("a")', "a"])("%s is refused", (text) => {
    const cursor = cursorOf(text);
    parseFlags(cursor, false);
    expect(cursor.ok).toBe(false);
  });
});

describe("search programs", () => {
  const context = {
    sequence: () => [1, 1],
    uids: () => [2, 2],
    recent: () => [3, 3],
    nowMs: 0,
    decode: (bytes: Uint8Array) => Buffer.from(bytes).toString("utf8"),
  };
  test.each([
    ["ALL", { kind: "all" }],
    ["NOT SEEN", { kind: "not", key: { kind: "flag", flag: "\\Seen", set: true } }],
    ["1:2", { kind: "uid", set: [1, 1] }],
    ["UID 5", { kind: "uid", set: [2, 2] }],
    ["RECENT", { kind: "uid", set: [3, 3] }],
    ["__proto__", undefined],
    ["CONSTRUCTOR", undefined],
    ['HEADER "__proto__" x', { kind: "header", name: "__proto__", text: "x" }],
  ])("%s", (text, key) => {
    const cursor = cursorOf(text);
    const program = parseSearchProgram(cursor, context, 32);
    if (key === undefined) expect(cursor.fault).toBe("unknown search key");
    else expect(program.key).toEqual(key);
  });
});

describe("list patterns", () => {
  test.each([
    ["INBOX", "inbox", true],
    ["INBOX", "in%", true],
    ["INBOX/x", "inbox/%", true],
    ["Inboxes", "inboxes", false],
    ["a/b", "a%", false],
    ["a/b", "a*", true],
    ["a/b", "%/%", true],
    ["a/b/c", "%/%", false],
    ["a/b/c", "a/*c", true],
    ["abc", "a%%%c", true],
    ["abc", "", false],
    ["", "*", true],
    ["a*b", "a*b", true],
    ["a.b", "a?b", false],
  ])("%s matches %s: %s", (name, pattern, matches) => {
    expect(matchesPattern(name, pattern)).toBe(matches);
  });

  test("agrees with a regular expression", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "/"), maxLength: 10 });
    const patterns = fc.string({ unit: fc.constantFrom("a", "b", "/", "*", "%"), maxLength: 8 });
    fc.assert(
      fc.property(letters, patterns, (name, pattern) => {
        const source = pattern.replaceAll(/\*|%/g, (sign) => (sign === "*" ? ".*" : "[^/]*"));
        expect(matchesPattern(name, pattern)).toBe(new RegExp(`^${source}$`).test(name));
      }),
    );
  });

  test("a subscribed name without mailbox is listed as such", () => {
    const listed = chooseNames(
      { mailboxes: [], orphanSubscriptions: ["gone/far"] },
      {
        reference: "",
        patterns: ["*"],
        subscribedOnly: true,
        specialUseOnly: false,
        recursiveMatch: false,
        returnSubscribed: false,
        extended: true,
      },
    );
    expect(listed).toEqual([
      {
        name: "gone/far",
        attributes: ["\\NonExistent", "\\Noselect", "\\HasNoChildren", "\\Subscribed"],
        childInfo: [],
        info: undefined,
      },
    ]);
  });
});

describe("literal policy", () => {
  const offer = { size: 10, sync: true, keptCount: 0, loggedIn: true };
  test.each([
    ["a FETCH 1 {10}", {}, "keep"],
    ["a APPEND INBOX {10}", {}, "stream"],
    ["a append {5+}\r\nINBOX (\\Seen) ~{10}", {}, "stream"],
    ["a APPEND {10}", {}, "keep"],
    ["a APPEND INBOX {10}", { loggedIn: false }, "keep"],
    ["a LOGIN {10}", { loggedIn: false, keptCount: 4 }, "bye"],
    ["a LOGIN {1025}", { loggedIn: false, size: 1025 }, "bye"],
    ["a SEARCH SUBJECT {4097+}", { size: 4097, sync: false }, "bye"],
    ["a SEARCH SUBJECT {70000}", { size: 70_000 }, "no"],
    ["a APPEND INBOX {70000000+}", { size: 70_000_000, sync: false }, "stream"],
  ])("%s", (text, change, expected) => {
    const decision = decideLiteral(
      { ...offer, ...change, text: Buffer.from(text) },
      defaultImapLimits,
    );
    const kind =
      decision.kind === "refuse"
        ? decision.reply.bye === undefined
          ? "no"
          : "bye"
        : decision.kind;
    expect(kind).toBe(expected);
  });
});

describe("client addresses", () => {
  test("one form for each address", () => {
    expect(plainAddress("::ffff:192.0.2.1")).toBe("192.0.2.1");
    expect(plainAddress("fe80::1%eth0")).toBe("fe80::1");
    expect(isLoopback("127.1.2.3")).toBe(true);
    expect(isLoopback("10.0.0.1")).toBe(false);
  });
  test.each([
    ["192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8::1", "2001:db8:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
  ])("%s counts as %s", (address, group) => {
    expect(addressGroup(address)).toBe(group);
  });
});
