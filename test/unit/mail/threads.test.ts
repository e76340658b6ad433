// The thread algorithms of RFC 5256 §3: each step, loops, dummies, deep trees, any mailbox.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { baseSubject } from "../../../src/mail/base-subject.ts";
import { casemapKey } from "../../../src/mail/collation.ts";
import { finish, sortSteps, stepSize } from "../../../src/mail/steps.ts";
import { threadsByReferences } from "../../../src/mail/thread-references.ts";
import { threadsBySubject } from "../../../src/mail/thread-subject.ts";
import type { ThreadMessages, Threads } from "../../../src/mail/thread-tree.ts";
import { threadText } from "../../../src/gateway/imap/thread-text.ts";

interface Mail {
  readonly id?: string;
  readonly refs?: string;
  readonly subject?: string;
  /** Sent date; the place in the mailbox when absent. */
  readonly at?: number;
}

function columns(mails: readonly Mail[]): ThreadMessages {
  const subjects = mails.map(({ subject = "" }) => baseSubject(subject));
  return {
    uids: mails.map((_, at) => at + 1),
    sentMs: mails.map(({ at }, place) => at ?? place),
    ids: mails.map(({ id = "" }) => id),
    references: mails.map(({ refs = "" }) => refs.split(" ").filter((id) => id !== "")),
    subjects: subjects.map(({ text }) => casemapKey(text)),
    isReply: subjects.map(({ isReply }) => isReply),
  };
}

const text = ({ uids, depths }: Threads): string => threadText(uids, depths);
const byReferences = (...mails: readonly Mail[]): string =>
  text(finish(threadsByReferences(columns(mails))));
const bySubject = (...mails: readonly Mail[]): string =>
  text(finish(threadsBySubject(columns(mails))));

describe("REFERENCES", () => {
  test("links parents and children, and sorts siblings by date", () => {
    expect(
      byReferences(
        { id: "a" },
        { id: "b", refs: "a", at: 9 },
        { id: "c", refs: "a", at: 8 },
        { id: "d", refs: "a b" },
        { id: "e" },
      ),
    ).toBe("(1 (3)(2 4))(5)");
  });
  test("children may come before their parents", () => {
    expect(byReferences({ id: "c", refs: "a b" }, { id: "b", refs: "a" }, { id: "a" })).toBe(
      "(3 2 1)",
    );
  });
  test("two missing parents of one subject become one, however many children they have", () => {
    const children = Array.from({ length: 150_000 }, (_, at) => ({
      refs: at === 0 || at === 1 ? "a" : "b",
      subject: "s",
    }));
    const { depths } = finish(threadsByReferences(columns(children)));
    expect(depths.length).toBe(150_001);
  });
  test("siblings of a missing parent stand below a dummy; one alone does not", () => {
    expect(byReferences({ id: "b", refs: "a" }, { id: "c", refs: "a" })).toBe("((1)(2))");
    expect(byReferences({ id: "b", refs: "a" })).toBe("(1)");
  });
  test("dummies between messages vanish", () => {
    expect(byReferences({ id: "a" }, { id: "d", refs: "a b c" }, { id: "e", refs: "a b" })).toBe(
      "(1 (2)(3))",
    );
    expect(byReferences({ id: "c", refs: "a b" }, { id: "d", refs: "a b" })).toBe("((1)(2))");
    expect(byReferences({ id: "c", refs: "x a" }, { id: "d", refs: "x b" })).toBe("((1)(2))");
  });
  test("a message's own references win over what others say", () => {
    // The third says that b answers x; b itself says a.
    expect(byReferences({ id: "a" }, { id: "b", refs: "a" }, { id: "c", refs: "x b" })).toBe(
      "(1 2 3)",
    );
    // Said before: b is moved.
    expect(byReferences({ id: "c", refs: "x b" }, { id: "a" }, { id: "b", refs: "a" })).toBe(
      "(2 3 1)",
    );
  });
  test("loops are not made", () => {
    expect(byReferences({ id: "a", refs: "b" }, { id: "b", refs: "a" })).toBe("(2 1)");
    expect(byReferences({ id: "a", refs: "a" })).toBe("(1)");
    // When b says to be below c, c is below b; what c says of itself comes last.
    expect(byReferences({ id: "a", refs: "b c" }, { id: "b", refs: "c" }, { id: "c" })).toBe(
      "(2)(3 1)",
    );
  });
  test("a repeated or missing id is a message of its own", () => {
    expect(byReferences({ id: "a" }, { id: "a" }, { id: "b", refs: "a" }, {}, {})).toBe(
      "(1 3)(2)(4)(5)",
    );
  });
  test("threads are sorted by their first message", () => {
    expect(
      byReferences(
        { id: "a", at: 5 },
        { id: "b", at: 1 },
        { refs: "z", at: 9 },
        { refs: "z", at: 0 },
      ),
    ).toBe("((4)(3))(2)(1)");
  });

  test("a reply goes below the message with its subject", () => {
    expect(byReferences({ subject: "topic" }, { subject: "Re: topic" })).toBe("(1 2)");
    expect(byReferences({ subject: "Re: topic" }, { subject: "Topic" })).toBe("(2 1)");
  });
  test("two messages, or two replies, of one subject stand side by side", () => {
    expect(byReferences({ subject: "topic" }, { subject: "topic" })).toBe("((1)(2))");
    expect(byReferences({ subject: "Re: topic" }, { subject: "Fwd: topic" })).toBe("((1)(2))");
    expect(byReferences({ subject: "t" }, { subject: "t" }, { subject: "t" })).toBe("((1)(2)(3))");
  });
  test("empty subjects are not gathered", () => {
    expect(byReferences({ subject: "" }, { subject: "Re:" }, {})).toBe("(1)(2)(3)");
  });
  test("a message joins a dummy of its subject", () => {
    expect(
      byReferences(
        { id: "b", refs: "a", subject: "Re: t" },
        { id: "c", refs: "a", subject: "Re: t" },
        { subject: "t" },
      ),
    ).toBe("((1)(2)(3))");
  });
  test("two dummies of one subject become one", () => {
    expect(
      byReferences(
        { refs: "a", subject: "t" },
        { refs: "a", subject: "u" },
        { refs: "b", subject: "t" },
        { refs: "b", subject: "v" },
      ),
    ).toBe("((1)(2)(3)(4))");
  });

  test("a chain of 50,000 replies, from either end", () => {
    const chain = Array.from({ length: 50_000 }, (_, at) => ({
      id: `m${at}`,
      refs: at === 0 ? "" : `m${at - 1}`,
    }));
    for (const mails of [chain, chain.toReversed()]) {
      const { depths } = finish(threadsByReferences(columns(mails)));
      expect(depths[49_999]).toBe(49_999);
    }
  });
  test("references made to cost time are cut off", () => {
    const count = 3000;
    const mails = Array.from({ length: count }, (_, at) => ({
      id: `m${at}`,
      refs: Array.from({ length: 60 }, (__, i) => `d${(at * 7 + i * 131) % 9973}`).join(" "),
    }));
    const started = performance.now();
    expect(finish(threadsByReferences(columns(mails))).uids.length).toBeGreaterThanOrEqual(count);
    expect(performance.now() - started).toBeLessThan(5000);
  });
});

describe("ORDEREDSUBJECT", () => {
  test("the first message is the parent of all others of its subject", () => {
    expect(
      bySubject(
        { subject: "b", at: 4 },
        { subject: "A", at: 3 },
        { subject: "re: a", at: 1 },
        { subject: "Fwd: B", at: 9 },
        { subject: "a", at: 2 },
      ),
    ).toBe("(3 (5)(2))(1 4)");
  });
  test("no messages, no threads", () => {
    expect(bySubject()).toBe("");
    expect(byReferences()).toBe("");
  });
});

const id = fc.constantFrom("", "a", "b", "c", "d", "e", "f", "g");
const mail = fc.record({
  id,
  refs: fc.array(id, { maxLength: 5 }).map((ids) => ids.join(" ")),
  subject: fc.constantFrom("", "t", "Re: t", "Fwd: u", "u", "[fwd: t]"),
  at: fc.nat(5),
});

test("every message is in the threads once, below one before it; dummies stand on top of several", () => {
  fc.assert(
    fc.property(fc.array(mail, { maxLength: 12 }), (mails) => {
      for (const threads of [threadsByReferences, threadsBySubject]) {
        const { uids, depths } = finish(threads(columns(mails)));
        const found = Array.from(uids).filter((uid) => uid > 0);
        expect(found.toSorted((a, b) => a - b)).toEqual(mails.map((_, at) => at + 1));
        for (let at = 0; at < uids.length; at++) {
          const depth = depths[at] ?? 0;
          expect(depth).toBeLessThanOrEqual(at === 0 ? 0 : (depths[at - 1] ?? 0) + 1);
          if (uids[at] !== 0) continue;
          expect(depth).toBe(0);
          const end = Array.from(depths).findIndex((each, i) => i > at && each === 0);
          const below = Array.from(depths).slice(at + 1, end < 0 ? undefined : end);
          expect(below.filter((each) => each === 1).length).toBeGreaterThan(1);
        }
      }
    }),
    { numRuns: 1000 },
  );
});

test("sorting in steps: the same as at once, equal values in their order", () => {
  const count = fc.integer({ min: 0, max: 3 * stepSize });
  fc.assert(
    fc.property(count, fc.integer({ min: 1, max: 1000 }), (length, keys) => {
      const key = (value: number): number => (value * 7919) % keys;
      const values = Array.from({ length }, (_, at) => at);
      const compare = (a: number, b: number): number => key(a) - key(b);
      expect([...finish(sortSteps(Uint32Array.from(values), compare))]).toEqual(
        values.toSorted(compare),
      );
    }),
    { numRuns: 30 },
  );
});
