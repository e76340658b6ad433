// Makers of identifiers from randomness, counters and time. They return plain text; the id
// constructors of mail/ids.ts give it its type.

import { assert } from "./assert.ts";
import type { Clock } from "./clock.ts";
import type { Random } from "./random.ts";

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/**
 * Operation ids: 32 hex digits, of which 10 bytes are drawn once per process start and 6 count up.
 */
export function opIdMaker(random: Random): () => string {
  const start = random.hex(10);
  let counter = 0;
  return () => {
    counter += 1;
    return start + counter.toString(16).padStart(12, "0");
  };
}

/** ULIDs: 26 characters, 48 bits of milliseconds and 80 random bits; ascending within one maker. */
export function ulidMaker(clock: Clock, random: Random): () => string {
  let lastMs = -1;
  let time = "";
  const tail: number[] = [];
  return () => {
    const nowMs = Math.max(lastMs, clock.nowMs());
    if (nowMs > lastMs) {
      lastMs = nowMs;
      time = timeDigits(nowMs);
      // The top digit stays small, so that counting up within a millisecond has room.
      const bytes = random.bytes(16);
      for (let at = 0; at < 16; at++) tail[at] = (bytes[at] ?? 0) & (at === 0 ? 15 : 31);
    } else {
      countUp(tail);
    }
    let text = time;
    for (const digit of tail) text += crockford[digit];
    return text;
  };
}

/** When a ULID was made, in milliseconds since 1970 by its maker's clock; Infinity when it is none. */
export function ulidMs(ulid: string): number {
  if (ulid.length !== 26) return Infinity;
  let ms = 0;
  for (let at = 0; at < 10; at++) {
    const digit = crockford.indexOf(ulid.charAt(at));
    if (digit < 0) return Infinity;
    ms = ms * 32 + digit;
  }
  return ms;
}

function countUp(digits: number[]): void {
  for (let at = digits.length - 1; at >= 0; at--) {
    const digit = digits[at] ?? 0;
    if (digit < 31) {
      digits[at] = digit + 1;
      return;
    }
    digits[at] = 0;
  }
  assert(false, "nobody makes 2^79 ULIDs in a millisecond");
}

function timeDigits(ms: number): string {
  let text = "";
  for (let rest = ms, at = 0; at < 10; at++) {
    text = crockford.charAt(rest % 32) + text;
    rest = Math.floor(rest / 32);
  }
  return text;
}
