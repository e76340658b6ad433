import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LineBuffer } from "../../../src/gateway/pop3/line-buffer.ts";

describe("LineBuffer", () => {
  test("a line over the limit is told once, dropped whole, and the next one is whole again", () => {
    expect(lines(["aaaaaaaaaaaaaaaaaaaaaa", "bbbb", "bbb\r\nok\r\n"], 10)).toEqual([null, "ok"]);
  });

  test("the limit counts the line end", () => {
    expect(lines(["12345678\r\n123456789\r\n"], 10)).toEqual(["12345678", null]);
  });

  test("after clear, the end of an unfinished line is a line of its own", () => {
    const buffer = new LineBuffer();
    buffer.push(Buffer.from("NOOP\r\nPASS sec"));
    buffer.clear();
    buffer.push(Buffer.from("ret\r\n"));
    expect(drain(buffer, 100)).toEqual(["ret"]);
  });

  test("it holds no more than one unfinished line of the limit's length", () => {
    const buffer = new LineBuffer();
    for (let i = 0; i < 1000; i++) {
      buffer.push(Buffer.alloc(1000, "x"));
      expect(buffer.next(() => 512)).toBeUndefined();
    }
    buffer.push(Buffer.from("\r\n"));
    expect(drain(buffer, 512)).toEqual([null]);
  });

  test("where the chunks are cut makes no difference", () => {
    const part = fc.constantFrom("\r\n", "\n", "\r", "a", "bcdef", "0123456789");
    fc.assert(
      fc.property(fc.array(part, { maxLength: 30 }), fc.nat(8), (parts, size) => {
        const whole = parts.join("");
        const pieces = whole.match(new RegExp(`[^]{1,${size + 1}}`, "g")) ?? [];
        expect(lines(pieces, 12)).toEqual(lines([whole], 12));
      }),
      { numRuns: 500 },
    );
  });
});

function lines(chunks: readonly string[], most: number): readonly (string | null)[] {
  const buffer = new LineBuffer();
  return chunks.flatMap((chunk) => {
    buffer.push(Buffer.from(chunk));
    return drain(buffer, most);
  });
}

/** The lines that are there; null for one that was too long. */
function drain(buffer: LineBuffer, most: number): readonly (string | null)[] {
  const found: (string | null)[] = [];
  for (let line = buffer.next(() => most); line !== undefined; line = buffer.next(() => most)) {
    found.push(line.kind === "line" ? Buffer.from(line.bytes).toString() : null);
  }
  return found;
}
