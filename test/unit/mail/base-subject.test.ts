// The base subject of RFC 5256 §2.1: each rule of the procedure, and properties of any subject.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { baseSubject } from "../../../src/mail/base-subject.ts";

const table: readonly (readonly [string, string, boolean])[] = [
  ["plain", "plain", false],
  ["", "", false],
  ["   \t ", "", false],
  // Step 1
  ["a\t b\r\n  c", "a b c", false],
  // Step 2
  ["topic (fwd)", "topic", true],
  ["topic (FWD) (fwd)  ", "topic", true],
  ["(fwd)", "", true],
  ["topic (fwd) x", "topic (fwd) x", false],
  // Step 3
  ["Re: topic", "topic", true],
  ["re:topic", "topic", true],
  ["RE : topic", "topic", true],
  ["Fw: topic", "topic", true],
  ["fwd: topic", "topic", true],
  ["Fwdd: topic", "Fwdd: topic", false],
  ["Re[2]: topic", "topic", true],
  ["Re [2] : topic", "topic", true],
  ["Re[2][3]: topic", "Re[2][3]: topic", false],
  ["Re: Re: Fwd: re: topic", "topic", true],
  ["Re:", "", true],
  ["Re", "Re", false],
  ["Reply: topic", "Reply: topic", false],
  ["AW: topic", "AW: topic", false],
  ["회신: 주제", "회신: 주제", false],
  ["[list] Re: topic", "topic", true],
  ["[a] [b] Re: topic", "topic", true],
  ["Re: [list] Re: topic", "topic", true],
  // Step 4
  ["[list] topic", "topic", false],
  ["[a][b] [c] topic", "topic", false],
  ["[list]", "[list]", false],
  ["[a] [b]", "[b]", false],
  ["Re: [a] [b]", "[b]", true],
  ["[list", "[list", false],
  ["[a[b] topic", "[a[b] topic", false],
  ["topic [x]", "topic [x]", false],
  // Step 6
  ["[fwd: topic]", "topic", true],
  ["[Fwd: Re: topic (fwd)]", "topic", true],
  ["[fwd: [fwd: topic]]", "topic", true],
  ["[fwd: topic] more", "more", false],
  ["[fwd:]", "", true],
  ["[fwd: [list] topic]", "topic", true],
  ["Re: [Fwd: topic] (fwd)", "topic", true],
];

describe("base subject", () => {
  test.each(table)("%j is %j", (subject, text, isReply) => {
    expect(baseSubject(subject)).toEqual({ text, isReply });
  });

  const piece = fc.constantFrom("Re:", "fw", "[", "]", "[fwd:", "(fwd)", " ", "d", ":", "x", "한");
  const subject = fc.array(piece, { maxLength: 20 }).map((pieces) => pieces.join(""));

  test("has nothing left to remove", () => {
    fc.assert(
      fc.property(subject, (given) => {
        const { text } = baseSubject(given);
        expect(baseSubject(text)).toEqual({ text, isReply: false });
        expect(given.replaceAll(/\s+/g, " ")).toContain(text);
      }),
      { numRuns: 700 },
    );
  });

  test("doesn't change with one more Re: or list name", () => {
    fc.assert(
      fc.property(subject, (given) => {
        const { text } = baseSubject(given);
        expect(baseSubject(`Re: ${given}`)).toEqual({ text, isReply: true });
        if (text !== "") expect(baseSubject(`[list] ${given}`).text).toBe(text);
      }),
      { numRuns: 700 },
    );
  });

  test.each(["[a]", "Re:", "[fwd:", "[", "[a] Re[b]:", " (fwd)"])(
    "takes time in proportion to its length: %s",
    (unit) => {
      const started = performance.now();
      baseSubject(unit.repeat(100_000));
      expect(performance.now() - started).toBeLessThan(1000);
    },
  );
});
