// Frames under fire: any split of a good stream gives the same frames; no bytes at all, however bad,
// do more than throw FrameError.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  FrameDecoder,
  FrameError,
  FrameWriter,
  frameBytesMax,
  frameSize,
  frameType,
} from "../../src/cluster/link/frame.ts";
import type { FrameType } from "../../src/cluster/link/frame.ts";
import { decodeHello, encodeHello } from "../../src/cluster/link/hello.ts";
import { decodeFailure, unpackValue } from "../../src/cluster/link/wire-value.ts";
import { memberId } from "../../src/mail/ids.ts";

interface Frame {
  readonly type: FrameType;
  readonly id: number;
  readonly head: Uint8Array;
  readonly body: Uint8Array | undefined;
}

const types = Object.values(frameType);
const frame: fc.Arbitrary<Frame> = fc.record({
  type: fc.constantFrom(...types),
  id: fc.integer({ min: 0, max: 0xffff_ffff }),
  head: fc.oneof(
    { weight: 9, arbitrary: fc.uint8Array({ maxLength: 60 }) },
    { weight: 1, arbitrary: fc.constantFrom(65_535, 65_536, 70_000).map((n) => new Uint8Array(n)) },
  ),
  body: fc.option(
    fc.oneof(
      { weight: 9, arbitrary: fc.uint8Array({ maxLength: 200 }) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(16_384, 16_385, 90_000).map((n) => new Uint8Array(n)),
      },
    ),
    { nil: undefined },
  ),
});

function encode(frames: readonly Frame[]): Buffer {
  const writer = new FrameWriter();
  for (const { type, id, head, body } of frames) {
    expect(writer.add(type, id, head, body)).toBe(frameSize(head, body));
  }
  const { bytes } = writer;
  const all = Buffer.concat(writer.take());
  expect(all.length).toBe(bytes);
  expect(writer.bytes).toBe(0);
  return all;
}

function decode(chunks: readonly Buffer[]): { frames: Frame[]; idle: boolean } {
  const frames: Frame[] = [];
  const decoder = new FrameDecoder((type, id, head, body) => {
    frames.push({
      type,
      id,
      head: Uint8Array.from(head),
      body: body === undefined ? undefined : Uint8Array.from(body),
    });
  });
  for (const chunk of chunks) decoder.push(chunk);
  return { frames, idle: decoder.idle };
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length];
  at.sort((a, b) => a - b);
  return at.slice(1).map((end, index) => bytes.subarray(at[index] ?? 0, end));
}

/** For comparing: matchers are slow on long byte arrays. */
function shown(frames: readonly Frame[]): readonly string[] {
  return frames.map(({ type, id, head, body }) => {
    const bodyText = body === undefined ? "none" : Buffer.from(body).toString("base64");
    return `${type} ${id} ${Buffer.from(head).toString("base64")} ${bodyText}`;
  });
}

/** As production meets them: nothing but FrameError may come out of foreign bytes. */
function survives(run: () => unknown): boolean {
  try {
    run();
    return true;
  } catch (error) {
    if (error instanceof FrameError) return false;
    throw error;
  }
}

describe("a good stream", () => {
  test("gives its frames, however it is split", () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 8 }),
        fc.array(fc.nat(), { maxLength: 12 }),
        (frames, cuts) => {
          const { frames: got, idle } = decode(split(encode(frames), cuts));
          expect(shown(got)).toEqual(shown(frames));
          expect(idle).toBe(true);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("gives its frames at every single split, and byte by byte", () => {
    const small = fc.record({
      type: fc.constantFrom(...types),
      id: fc.integer({ min: 0, max: 0xffff_ffff }),
      head: fc.uint8Array({ maxLength: 8 }),
      body: fc.option(fc.uint8Array({ maxLength: 8 }), { nil: undefined }),
    });
    fc.assert(
      fc.property(fc.array(small, { minLength: 1, maxLength: 4 }), (frames) => {
        const bytes = encode(frames);
        for (let cut = 0; cut <= bytes.length; cut++) {
          expect(decode(split(bytes, [cut])).frames).toEqual(frames);
        }
        const single = Array.from({ length: bytes.length - 1 }, (_, index) => index + 1);
        expect(decode(split(bytes, single)).frames).toEqual(frames);
      }),
      { numRuns: 100 },
    );
  });

  test("that is cut off gives the whole frames before, and is not idle", () => {
    fc.assert(
      fc.property(fc.array(frame, { minLength: 1, maxLength: 4 }), fc.nat(), (frames, cut) => {
        const bytes = encode(frames);
        const { frames: got, idle } = decode([bytes.subarray(0, cut % bytes.length)]);
        expect(shown(got)).toEqual(shown(frames.slice(0, got.length)));
        expect(got.length).toBeLessThan(frames.length);
        const whole = encode(got).length;
        expect(idle).toBe(cut % bytes.length === whole);
      }),
      { numRuns: 200 },
    );
  });
});

describe("bad bytes", () => {
  test("throw FrameError or nothing, the same at every split", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 400 }),
        fc.array(fc.nat(), { maxLength: 6 }),
        (bytes, cuts) => {
          const whole = Buffer.from(bytes);
          const good = survives(() => decode([whole]));
          expect(survives(() => decode(split(whole, cuts)))).toBe(good);
        },
      ),
      { numRuns: 3000 },
    );
  });

  test("in one place of a good stream do no worse", () => {
    fc.assert(
      fc.property(
        fc.array(frame, { minLength: 1, maxLength: 4 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (frames, place, flip) => {
          const bytes = encode(frames);
          const at = place % bytes.length;
          bytes[at] = (bytes[at] ?? 0) ^ flip;
          survives(() => decode([bytes]));
        },
      ),
      { numRuns: 500 },
    );
  });

  test.each([
    ["a length below the prologue", "00000006" + "01000000000000"],
    ["a length over the limit", "7fffffff"],
    ["type 0", "00000007" + "00000000000000"],
    ["an unknown type", "00000007" + "0d000000000000"],
    ["a head longer than the frame", "00000007" + "02000000000001"],
    ["a body without its flag", "00000008" + "0200000000000041"],
    ["a long head that is short", "0000000b" + "4200000000000000000000"],
    ["a long head without its length", "00000007" + "42000000000000"],
    ["a long head longer than the frame", "0000000b" + "42000000000000ffffffff"],
  ])("%s throw", (_what, hex) => {
    const bytes = Buffer.from(hex, "hex");
    expect(() => decode([bytes])).toThrow(FrameError);
    expect(() => decode([...bytes].map((byte) => Buffer.from([byte])))).toThrow(FrameError);
  });

  test("never make the decoder hold more than one frame", () => {
    const decoder = new FrameDecoder(() => undefined);
    const header = Buffer.alloc(4);
    header.writeUInt32BE(frameBytesMax - 4);
    decoder.push(header);
    expect(() => decoder.push(Buffer.alloc(frameBytesMax - 5, 1))).not.toThrow();
    header.writeUInt32BE(frameBytesMax - 3);
    expect(() => new FrameDecoder(() => undefined).push(header)).toThrow(FrameError);
  });
});

describe("heads", () => {
  test("of any bytes decode or throw FrameError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        survives(() => unpackValue(bytes));
        survives(() => decodeHello(bytes));
        survives(() => decodeFailure(unpackValue(bytes)));
      }),
      { numRuns: 5000 },
    );
  });

  test("with one bad byte of a HELLO decode or throw FrameError", () => {
    const good = encodeHello({
      cluster: "c",
      member: memberId("n1"),
      role: "node",
      incarnation: 3,
      purpose: "data",
      boot: "ab12",
      serial: 7,
    });
    expect(decodeHello(good)).toMatchObject({ member: "n1", serial: 7, version: 2, oldest: 1 });
    for (let at = 0; at < good.length; at++) {
      for (let value = 0; value < 256; value++) {
        const bad = Uint8Array.from(good);
        bad[at] = value;
        survives(() => decodeHello(bad));
      }
    }
  });

  test("of a failure with facts of wrong types throw FrameError", () => {
    expect(() => decodeFailure({ code: "WRONG_NODE", shard: "x" })).toThrow(FrameError);
    expect(() => decodeFailure({ code: "UNAVAILABLE" })).toThrow(FrameError);
    expect(() => decodeFailure("UNAVAILABLE")).toThrow(FrameError);
    expect(decodeFailure({ code: "constructor" })).toMatchObject({ code: "UNAVAILABLE" });
    expect(decodeFailure({ code: "IN_USE", extra: 1 })).toEqual({ code: "IN_USE" });
  });
});
