// COMPRESS=DEFLATE without sockets: bombs first, then any bytes through both directions in any pieces.

import { setImmediate } from "node:timers/promises";
import { constants, createInflateRaw, deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Deflater, Inflater } from "../../../src/gateway/imap/compression.ts";

interface Outcome {
  readonly bytes: number;
  readonly steps: readonly number[];
  readonly text: Buffer;
  readonly failed: string | undefined;
}

function inflateAll(chunks: readonly Uint8Array[], bounded = false): Promise<Outcome> {
  return new Promise((resolve) => {
    const pieces: Buffer[] = [];
    const finish = (failed?: string): void => {
      const text = Buffer.concat(pieces);
      const steps = pieces.map(({ length }) => length);
      resolve({ bytes: text.length, steps, text, failed });
    };
    const inflater = new Inflater({
      data: (bytes) => pieces.push(Buffer.from(bytes)),
      drain: () => {},
      ended: () => finish(),
      failed: finish,
      bounded: () => bounded,
    });
    for (const chunk of chunks) inflater.push(chunk);
    inflater.end();
  });
}

describe("inflating", () => {
  const sync = { finishFlush: constants.Z_SYNC_FLUSH };
  const bomb = deflateRawSync(Buffer.alloc(64 * 1024 * 1024, "t NOOP\r\n"), sync);

  test("a bomb ends the connection long before it has grown", async () => {
    const { failed, bytes } = await inflateAll([bomb]);
    expect(failed).toBe("The compressed data grows too much");
    expect(bytes).toBeLessThan(128 * 1024);
  });

  test("a message that compresses well is no bomb: its literal has limits of its own", async () => {
    const zeros = deflateRawSync(Buffer.alloc(8 * 1024 * 1024), sync);
    const { failed, bytes, steps } = await inflateAll([zeros], true);
    expect(failed).toBeUndefined();
    expect(bytes).toBe(8 * 1024 * 1024);
    expect(Math.max(...steps)).toBeLessThanOrEqual(16 * 1024);
  });

  test("nothing comes while it is paused, and what waits is bounded", async () => {
    let bytes = 0;
    let drained: () => void = () => {};
    const inflater = new Inflater({
      data: (step) => (bytes += step.length),
      drain: () => drained(),
      ended: () => {},
      failed: () => {},
      bounded: () => true,
    });
    inflater.pause();
    expect(inflater.push(bomb)).toBe(false);
    await setImmediate();
    expect(bytes).toBe(0);
    const done = new Promise<void>((resolve) => {
      drained = resolve;
    });
    inflater.resume();
    await done;
    expect(bytes).toBeGreaterThan(0);
    inflater.close();
  });

  test("bytes that are no deflate data", async () => {
    expect((await inflateAll([Buffer.of(0xff, 0xff, 0xff)])).failed).toBe(
      "The compressed data is broken",
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 5 }),
        async (junk) => {
          await inflateAll(junk);
        },
      ),
      { numRuns: 200 },
    );
  });

  test("the same text, however it was cut", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 3000 }), fc.nat(50), async (text, size) => {
        const packed = deflateRawSync(Buffer.from(text), sync);
        const chunks: Uint8Array[] = [];
        for (let at = 0; at < packed.length; at += size + 1) {
          chunks.push(packed.subarray(at, at + size + 1));
        }
        expect((await inflateAll(chunks)).text.toString()).toBe(text);
      }),
      { numRuns: 100 },
    );
  });
});

describe("deflating", () => {
  test("every answer can be read at once, and refers to those before it", async () => {
    const numbers = Array.from({ length: 60 }, (_, at) => at * 7919).join(" ");
    const line = `* SEARCH 5 ${numbers}\r\n`;
    const deflater = new Deflater();
    const first = deflater.deflate(Buffer.from(line));
    const second = deflater.deflate(Buffer.from(line.replace("5", "6")));
    expect(second.length).toBeLessThan(first.length / 2);
    expect((await inflateAll([first, second])).text.toString()).toBe(line + line.replace("5", "6"));
  });

  test("any answers: a client with one window over all of them reads them as they were", async () => {
    const answer = fc
      .tuple(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 700 }))
      .map(([unit, times]) => Buffer.concat(Array.from({ length: times }, () => unit)));
    await fc.assert(
      fc.asyncProperty(fc.array(answer, { maxLength: 6 }), async (answers) => {
        const deflater = new Deflater();
        const inflate = createInflateRaw({ finishFlush: constants.Z_SYNC_FLUSH });
        const parts: Buffer[] = [];
        inflate.on("data", (part: Buffer) => parts.push(part));
        const ended = new Promise((resolve, reject) => {
          inflate.on("end", resolve).on("error", reject);
        });
        for (const each of answers) inflate.write(deflater.deflate(each));
        inflate.end();
        await ended;
        expect(Buffer.concat(parts).equals(Buffer.concat(answers))).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});
