// Randomness as an argument: production passes `systemRandom`, tests and the simulator a seeded
// one that gives the same numbers for the same seed. The seeded one is not for secrets.

import { randomBytes, randomFillSync } from "node:crypto";

export interface Random {
  /** `count` fresh bytes. */
  bytes(count: number): Uint8Array;
  /** A number 0..2^32-1. */
  u32(): number;
  /** `byteCount` bytes as lower-case hex digits, twice as many characters. */
  hex(byteCount: number): string;
}

/** The kernel's generator: fit for secrets. */
export const systemRandom: Random = {
  bytes: (count) => (count > drawnBytesMax ? randomBytes(count) : drawn(count)),
  u32: () => randomBytes(4).readUInt32BE(0),
  hex: (byteCount) => randomBytes(byteCount).toString("hex"),
};

/** The kernel is asked for many bytes at once: a call for a few costs as much. Each is handed out once. */
const stock = Buffer.alloc(4096);
let stockAt = stock.length;
const drawnBytesMax = 64;

function drawn(count: number): Uint8Array {
  if (stockAt + count > stock.length) {
    randomFillSync(stock);
    stockAt = 0;
  }
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count; at++) {
    bytes[at] = stock[stockAt + at] ?? 0;
    stock[stockAt + at] = 0;
  }
  stockAt += count;
  return bytes;
}

/** sfc32: small, fast, repeatable from its seed; passes PractRand, but is no secret to anyone. */
export class SeededRandom implements Random {
  #a = 0;
  #b = 0;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = Math.floor(seed / 2 ** 32) | 0;
    this.#c = seed | 0;
    for (let round = 0; round < 12; round++) this.u32();
  }

  u32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return sum >>> 0;
  }

  /** An integer 0..limit-1; `limit` is 1..2^32. */
  below(limit: number): number {
    return Math.floor((this.u32() / 2 ** 32) * limit);
  }

  /** True with the given probability, 0..1. */
  chance(probability: number): boolean {
    return this.u32() / 2 ** 32 < probability;
  }

  bytes(count: number): Uint8Array {
    const out = new Uint8Array(count);
    for (let at = 0; at < count; at++) out[at] = this.u32() & 0xff;
    return out;
  }

  hex(byteCount: number): string {
    return Buffer.from(this.bytes(byteCount)).toString("hex");
  }
}
