import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DotStuffer, TopCutter } from "../../../src/gateway/pop3/message-lines.ts";

const text = fc
  .array(fc.constantFrom("\r\n", "\n", "\r", ".", "..", "a", " ", "\r\n.\r\n"), { maxLength: 60 })
  .map((parts) => parts.join(""));
const cuts = fc.array(fc.nat(60), { maxLength: 5 });

describe("DotStuffer", () => {
  test.each([
    ["", ".\r\n"],
    ["a\r\n", "a\r\n.\r\n"],
    ["a", "a\r\n.\r\n"],
    ["a\r", "a\r\n.\r\n"],
    ["a\nb\n", "a\r\nb\r\n.\r\n"],
    ["\n", "\r\n.\r\n"],
    [".", "..\r\n.\r\n"],
    ["a\r\n.\r\n", "a\r\n..\r\n.\r\n"],
    ["a\n.b", "a\r\n..b\r\n.\r\n"],
    ["a\r.b\r\n", "a\r.b\r\n.\r\n"],
  ])("%j goes out as %j", (stored, sent) => {
    expect(stuff([stored])).toBe(sent);
  });

  test("a client gets back what was stored, with every bare LF as CRLF", () => {
    fc.assert(
      fc.property(text, (stored) => {
        const sent = stuff([stored]);
        const end = sent.indexOf("\r\n.\r\n");
        const body = sent === ".\r\n" ? "" : sent.slice(0, end + 2);
        expect(sent).toBe(`${body}.\r\n`); // The dot line comes once, at the end.
        const lines = body.split("\r\n").map((line) => line.replace(/^\./, ""));
        const wanted = stored.replaceAll(/\r?\n/g, "\r\n");
        const missing = wanted.endsWith("\r") ? "\n" : "\r\n";
        const ended = wanted === "" || wanted.endsWith("\r\n") ? wanted : wanted + missing;
        expect(lines.join("\r\n")).toBe(ended);
      }),
      { numRuns: 500 },
    );
  });

  test("where the chunks are cut makes no difference", () => {
    fc.assert(
      fc.property(text, cuts, (stored, at) => {
        expect(stuff(split(stored, at))).toBe(stuff([stored]));
      }),
      { numRuns: 500 },
    );
  });

  test("a chunk without anything to change is not copied", () => {
    const chunk = Buffer.from("one\r\ntwo\r\n");
    expect(new DotStuffer().push(chunk)).toBe(chunk);
  });
});

describe("TopCutter", () => {
  test.each([
    [0, "A: b\r\n\r\n1\r\n2\r\n", "A: b\r\n\r\n"],
    [1, "A: b\r\n\r\n1\r\n2\r\n", "A: b\r\n\r\n1\r\n"],
    [9, "A: b\r\n\r\n1\r\n2", "A: b\r\n\r\n1\r\n2"],
    [0, "A: b\n\nx\n", "A: b\n\n"],
    [1, "\r\nbody\r\nmore\r\n", "\r\nbody\r\n"],
    [3, "A: only a header\r\n", "A: only a header\r\n"],
  ])("%i lines of %j are %j", (lines, stored, wanted) => {
    expect(top(lines, [stored])).toBe(wanted);
  });

  test("where the chunks are cut makes no difference", () => {
    fc.assert(
      fc.property(fc.nat(5), text, cuts, (lines, stored, at) => {
        expect(top(lines, split(stored, at))).toBe(top(lines, [stored]));
      }),
      { numRuns: 500 },
    );
  });
});

function stuff(chunks: readonly string[]): string {
  const stuffer = new DotStuffer();
  const sent = chunks.map((chunk) => stuffer.push(Buffer.from(chunk)));
  return Buffer.concat([...sent, stuffer.end()]).toString();
}

function top(lines: number, chunks: readonly string[]): string {
  const cutter = new TopCutter(lines);
  return chunks
    .map((chunk) => (cutter.done ? "" : Buffer.from(cutter.push(Buffer.from(chunk))).toString()))
    .join("");
}

function split(whole: string, at: readonly number[]): readonly string[] {
  const places = [0, ...at.map((each) => Math.min(each, whole.length)), whole.length];
  places.sort((a, b) => a - b);
  return places.slice(1).map((place, index) => whole.slice(places[index], place));
}
