// The checksum in script and the native one are the same function, whatever the length and the place.

import { crc32c as native } from "@node-rs/crc32";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { crc32c } from "../../../src/lib/crc32c.ts";

describe("crc32c", () => {
  it("gives the check value of the Castagnoli polynomial", () => {
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(0))).toBe(0);
  });

  it("agrees with the native library at every length around the switch", () => {
    for (let length = 0; length < 300; length++) {
      const bytes = Uint8Array.from({ length }, (_, at) => (at * 131 + length) & 0xff);
      expect(crc32c(bytes)).toBe(native(bytes));
    }
  });

  it("goes on from a checksum, and takes a part of the bytes", () => {
    const chunk = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(chunk, chunk, chunk, (front, middle, back) => {
        const all = Buffer.concat([front, middle, back]);
        const end = front.length + middle.length;
        expect(crc32c(all, 0, front.length, end)).toBe(native(middle));
        const parts = crc32c(back, crc32c(middle, crc32c(front)));
        expect(parts).toBe(native(all));
      }),
    );
  });
});
