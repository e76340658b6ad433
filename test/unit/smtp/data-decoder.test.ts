// DATA decoding against a slow, obvious reference, at every split into chunks.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DataDecoder } from "../../../src/gateway/smtp/data-decoder.ts";

const lineBytesMax = 1000;

interface Decoded {
  readonly text: string;
  /** Bytes used up to and with the end of data; undefined: no end. */
  readonly end: number | undefined;
  readonly bareNewline: boolean;
}

function decode(input: string, cuts: readonly number[], dots = true): Decoded {
  const decoder = new DataDecoder({ lineBytesMax, dots });
  const bytes = Buffer.from(input, "latin1");
  const out: Buffer[] = [];
  const edges = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort(
    (a, b) => a - b,
  );
  let at = 0;
  for (const edge of edges) {
    const step = decoder.push(bytes.subarray(at, edge));
    out.push(Buffer.from(step.bytes));
    if (step.ended) {
      return finished(at + step.consumed);
    }
    at = edge;
  }
  if (!dots) out.push(decoder.finish() ?? Buffer.alloc(0));
  return finished(undefined);

  function finished(end: number | undefined): Decoded {
    const { bareNewline } = decoder.faults;
    return { text: Buffer.concat(out).toString("latin1"), end, bareNewline };
  }
}

/** The same by searching and replacing in the whole text. */
function reference(input: string): Decoded {
  const framed = `\r\n${input}`;
  const at = framed.indexOf("\r\n.\r\n");
  const content = at === -1 ? input : framed.slice(2, at + 2);
  const plain = `\r\n${content}`.replaceAll("\r\n.", "\r\n").slice(2);
  return {
    text: plain.replaceAll(/\r\n|\r|\n/g, "\r\n"),
    end: at === -1 ? undefined : at + 3,
    bareNewline: /\r(?!\n)|(?<!\r)\n/.test(plain),
  };
}

const pieces = fc.constantFrom("\r\n", ".", "\r", "\n", "\r\n.", "\r\n..", ".\r", "\0", "a", "bc");
const streams = fc.array(pieces, { maxLength: 14 }).map((parts) => parts.join(""));

describe("DATA decoding", () => {
  test("gives what search and replace in the whole text give, at any split", () => {
    fc.assert(
      fc.property(streams, fc.array(fc.nat(40), { maxLength: 5 }), (stream, cuts) => {
        // A byte behind, so that no CR stands at the end with its fate open.
        const input = `${stream}x\r\n.\r\nQUIT\r\n`;
        expect(decode(input, cuts)).toEqual(reference(input));
      }),
      { numRuns: 5000 },
    );
  });

  test("every short stream of CR, LF, dot and text, cut at every place and byte by byte", () => {
    const letters = ["\r", "\n", ".", "a"];
    let streamsNow = [""];
    for (let length = 1; length <= 5; length++) {
      streamsNow = streamsNow.flatMap((stream) => letters.map((letter) => stream + letter));
      for (const stream of streamsNow) {
        const input = `${stream}x\r\n.\r\nNOOP`;
        const expected = reference(input);
        expect(
          decode(
            input,
            Array.from({ length: input.length }, (_, i) => i),
          ),
        ).toEqual(expected);
        for (let cut = 0; cut <= stream.length + 3; cut++) {
          expect(decode(input, [cut])).toEqual(expected);
        }
      }
    }
  });

  test.each([
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r\n.\r",
    "\r.\r\n",
    "\n.\r",
    "\r\n.\0\r\n",
    "\r\n\0.\r\n",
    "\r\n.\r\0\n",
    "\r\n .\r\n",
    "\r\n.\r\r\n",
    "\r\n\x85.\r\n",
  ])("%j does not end the data, at any split", (sequence) => {
    const input = `first${sequence}MAIL FROM:<x@example.org>\r\n`;
    for (let cut = 0; cut <= input.length; cut++) {
      expect(decode(input, [cut]).end).toBeUndefined();
    }
  });

  test("only the lone dot between CRLFs ends the data, and what follows is left alone", () => {
    const input = "a\r\n.\r\nMAIL";
    for (let cut = 0; cut <= input.length; cut++) {
      expect(decode(input, [cut])).toEqual({ text: "a\r\n", end: 6, bareNewline: false });
    }
    expect(decode(".\r\n", [])).toEqual({ text: "", end: 3, bareNewline: false });
  });

  test("nothing that comes out has a bare CR or LF", () => {
    fc.assert(
      fc.property(streams, fc.boolean(), (stream, dots) => {
        const { text } = decode(dots ? `${stream}x\r\n.\r\n` : stream, [3, 7], dots);
        expect(text).not.toMatch(/\r(?!\n)|(?<!\r)\n/);
      }),
    );
  });

  test("a counted piece keeps its dots, and a CR at its very end gets its LF", () => {
    expect(decode("..a\r\n.\r\nb\r", [2], false)).toEqual({
      text: "..a\r\n.\r\nb\r\n",
      end: undefined,
      bareNewline: true,
    });
  });

  test("a line over the limit is noticed, however it is cut", () => {
    const longest = `${"x".repeat(lineBytesMax)}\r\n`;
    for (const [text, long] of [
      [longest, false],
      [`x${longest}`, true],
      [`a\r\n${longest}`, false],
      [`a\r\nx${longest}`, true],
    ] as const) {
      for (const cut of [0, 1, 500, lineBytesMax, lineBytesMax + 1]) {
        const decoder = new DataDecoder({ lineBytesMax, dots: true });
        const bytes = Buffer.from(text);
        decoder.push(bytes.subarray(0, cut));
        decoder.push(bytes.subarray(cut));
        expect(decoder.faults.longLine).toBe(long);
      }
    }
  });

  test.each(["\r\n..", "\n", "\r", ".\r"])("4 MiB of %j cost little", (unit) => {
    const chunk = Buffer.from(unit.repeat(65_536 / unit.length));
    const decoder = new DataDecoder({ lineBytesMax, dots: true });
    const before = process.cpuUsage();
    for (let i = 0; i < 64; i++) decoder.push(chunk);
    const { user, system } = process.cpuUsage(before);
    // About 40 to 90 ms; smtp-server's own parser takes 2,500 ms for the first.
    expect((user + system) / 1000).toBeLessThan(600);
  });

  test("plain text passes as a view, also with the end behind it", () => {
    const chunk = Buffer.from("Subject: x\r\n\r\ntext\r\n.\r\n");
    const { bytes } = new DataDecoder({ lineBytesMax, dots: true }).push(chunk);
    expect(bytes.toString()).toBe("Subject: x\r\n\r\ntext\r\n");
    expect(bytes.buffer).toBe(chunk.buffer);
  });
});
