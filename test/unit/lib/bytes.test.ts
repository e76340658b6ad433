// Numbers in bytes, against the methods of Node's Buffer.

import fc from "fast-check";
import { expect, test } from "vitest";
import { AssertionFailure } from "../../../src/lib/assert.ts";
import {
  readU16,
  readU32,
  readU48,
  readU53,
  writeU16,
  writeU32,
  writeU48,
  writeU53,
} from "../../../src/lib/bytes.ts";

const at = fc.nat(8);

function agree(
  most: number,
  write: (bytes: Uint8Array, value: number, at: number) => void,
  read: (bytes: Uint8Array, at: number) => number,
  expected: (bytes: Buffer, value: number, at: number) => void,
): void {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: most }), at, (value, offset) => {
      const [ours, theirs] = [Buffer.alloc(16, 0xa5), Buffer.alloc(16, 0xa5)];
      write(ours, value, offset);
      expected(theirs, value, offset);
      expect(ours).toEqual(theirs);
      expect(read(ours, offset)).toBe(value);
    }),
  );
}

test("2, 4, 6 and 8 bytes", () => {
  agree(0xffff, writeU16, readU16, (bytes, value, offset) => bytes.writeUInt16BE(value, offset));
  agree(2 ** 32 - 1, writeU32, readU32, (bytes, value, offset) =>
    bytes.writeUInt32BE(value, offset),
  );
  agree(2 ** 48 - 1, writeU48, readU48, (bytes, value, offset) =>
    bytes.writeUIntBE(value, offset, 6),
  );
  agree(Number.MAX_SAFE_INTEGER, writeU53, readU53, (bytes, value, offset) =>
    bytes.writeBigUInt64BE(BigInt(value), offset),
  );
});

test.each([2 ** 32, -1, 1.5, Number.NaN])("%d does not fit", (value) => {
  const bytes = Buffer.alloc(8);
  expect(() => writeU16(bytes, value, 0)).toThrow(AssertionFailure);
  expect(() => writeU32(bytes, value, 0)).toThrow(AssertionFailure);
});

test("bytes that are not there", () => {
  const bytes = Buffer.alloc(3);
  expect(() => readU32(bytes, 0)).toThrow(AssertionFailure);
  expect(() => readU16(bytes, 2)).toThrow(AssertionFailure);
  expect(() => writeU32(bytes, 1, 0)).toThrow(AssertionFailure);
  expect(() => writeU16(bytes, 1, 2)).toThrow(AssertionFailure);
});
