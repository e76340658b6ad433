// The reader: any split of the stream gives the same commands; limits; literals.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CommandReader } from "../../../src/gateway/imap/syntax/command-reader.ts";
import { ascending } from "./support.ts";

type LiteralChoice = "keep" | "stream" | "abandon";

/** Feeds the chunks and tells what the reader made of them, as text. */
function readAll(
  chunks: readonly Uint8Array[],
  choose: (text: string) => LiteralChoice,
  limit = 1000,
): readonly string[] {
  const reader = new CommandReader();
  const seen: string[] = [];
  let data = "";
  for (const chunk of chunks) {
    reader.push(chunk);
    for (let event = reader.next(limit); event !== undefined; event = reader.next(limit)) {
      if (event.kind === "data") {
        data += latin1(event.bytes);
        if (event.left > 0) continue;
        seen.push(`data ${data}`);
        data = "";
        continue;
      }
      const text = latin1(event.text);
      if (event.kind === "tooLong") return [...seen, "tooLong"];
      seen.push(`${event.kind} ${text}`);
      if (event.kind === "literal") reader[choose(text)]();
    }
  }
  return seen;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}
function bytes(text: string): Buffer {
  return Buffer.from(text, "latin1");
}
function chooseByName(text: string): LiteralChoice {
  return text.includes("STREAM") ? "stream" : text.includes("DROP") ? "abandon" : "keep";
}

describe("command reader", () => {
  test.each<readonly [string, string, readonly string[]]>([
    ["a line", "a NOOP\r\n", ["command a NOOP"]],
    ["a bare LF ends a line", "a NOOP\nb NOOP\r\n", ["command a NOOP", "command b NOOP"]],
    ["a bare CR does not", "a NO\rOP\r\n", ["command a NO\rOP"]],
    [
      "a kept literal stays inside",
      "a LOGIN {2}\r\nu\n {3+}\r\nx\r\n y\r\n",
      [
        "literal a LOGIN {2}",
        "literal a LOGIN {2}\r\nu\n {3+}",
        "command a LOGIN {2}\r\nu\n {3+}\r\nx\r\n y",
      ],
    ],
    [
      "a streamed literal does not",
      "a STREAM {4}\r\n1\r\n2 x\r\nb NOOP\r\n",
      ["literal a STREAM {4}", "data 1\r\n2", "command  x", "command b NOOP"],
    ],
    [
      "a refused literal ends the command",
      "a DROP {4}\r\nb NOOP\r\n",
      ["literal a DROP {4}", "command b NOOP"],
    ],
    ["an empty literal", "a X {0}\r\n\r\n", ["literal a X {0}", "command a X {0}\r\n"]],
    ["no digits, no literal", "a X {}\r\n", ["command a X {}"]],
    ["a marker alone on the line", "{1+}\r\nx\r\n", ["literal {1+}", "command {1+}\r\nx"]],
    [
      "a marker inside a kept literal is data",
      "a X {5}\r\n{9}\r\n\r\n",
      ["literal a X {5}", "command a X {5}\r\n{9}\r\n"],
    ],
    ["an empty line", "\r\n", ["command "]],
  ])("%s", (_, text, expected) => {
    expect(readAll([bytes(text)], chooseByName)).toEqual(expected);
  });

  test("sizes beyond all numbers are announced as the largest", () => {
    const reader = new CommandReader();
    reader.push(bytes("a X {99999999999999999999999999}\r\n"));
    expect(reader.next(1000)).toMatchObject({ kind: "literal", size: Number.MAX_SAFE_INTEGER });
  });

  test("a line over the limit is told before it ends", () => {
    expect(readAll([bytes("a".repeat(1001))], chooseByName)).toEqual(["tooLong"]);
    expect(readAll([bytes("a".repeat(1000) + "\r\n")], chooseByName, 990)).toEqual(["tooLong"]);
  });

  test("clear drops half lines and announced literals", () => {
    const reader = new CommandReader();
    reader.push(bytes("a NOOP\r\nb LOGIN {5}\r\nxx"));
    reader.next(1000);
    reader.next(1000);
    reader.clear();
    reader.push(bytes("c NOOP\r\n"));
    const event = reader.next(1000);
    expect(event?.kind === "command" && latin1(event.text)).toBe("c NOOP");
  });

  test("any split of the stream gives the same commands", () => {
    const piece = fc.constantFrom(
      "a NOOP\r\n",
      "b LOGIN {3}\r\nx\r\n {2+}\r\n\0{\r\n",
      "c STREAM {7+}\r\n{3}\r\nab {1}\r\nz\r\n",
      "d DROP {9}\r\n",
      "\r\n",
      'e "{3}"\r\n',
      "f X {0}\r\n\r\n",
      "g STREAM {0}\r\n\r\n",
    );
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 8 }),
        fc.array(fc.nat(1000), { maxLength: 12 }),
        (pieces, cuts) => {
          const whole = bytes(pieces.join(""));
          const places = ascending(new Set(cuts.map((cut) => cut % (whole.length + 1))));
          const chunks = [...places, whole.length].map((to, at) =>
            whole.subarray(at === 0 ? 0 : places[at - 1], to),
          );
          const byteWise = [...whole].map((byte) => Uint8Array.of(byte));
          const expected = readAll([whole], chooseByName);
          expect(readAll(chunks, chooseByName)).toEqual(expected);
          expect(readAll(byteWise, chooseByName)).toEqual(expected);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("a command that comes byte by byte costs no quadratic time", () => {
    const reader = new CommandReader();
    const size = 1_000_000;
    const started = performance.now();
    const one = bytes("x");
    for (let i = 0; i < size; i++) {
      reader.push(one);
      reader.next(2 * size);
    }
    expect(performance.now() - started).toBeLessThan(2000);
  });
});
