// The distinct grams of one message: a hash set of 32-bit numbers that is used again and again, and
// takes no more than a bounded number.

/** A message with more distinct grams is a candidate for every search. */
export const gramsMax = 32_768;
const slots = gramsMax * 2;

export class GramSet {
  readonly #slots = new Uint32Array(slots);
  readonly #grams = new Uint32Array(gramsMax);
  #count = 0;
  #isFull = false;

  /** True when something was left out. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Those added, until the next `clear`. */
  get grams(): Uint32Array {
    return this.#grams.subarray(0, this.#count);
  }

  /** @param gram 1..2^32-1 */
  add(gram: number): void {
    const table = this.#slots;
    let slot = Math.imul(gram, 0x9e37_79b1) >>> 16;
    for (;;) {
      const there = table[slot] ?? 0;
      if (there === gram) return;
      if (there === 0) break;
      slot = (slot + 1) % slots;
    }
    if (this.#count === gramsMax) {
      this.#isFull = true;
      return;
    }
    table[slot] = gram;
    this.#grams[this.#count++] = gram;
  }

  clear(): void {
    this.#slots.fill(0);
    this.#count = 0;
    this.#isFull = false;
  }
}
