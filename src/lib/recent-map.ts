// A map that remembers what was set lately, by number. Two generations: the old one is dropped whole.
// Taking the first key out of a `Map` each time costs a walk over all that was taken out before it.

/** Remembers at least the last `least` keys that were set, and at most twice as many. */
export class RecentMap<K, V> {
  readonly #least: number;
  #young = new Map<K, V>();
  /** A key may be in both: then the young one counts. */
  #old = new Map<K, V>();

  constructor(least: number) {
    this.#least = least;
  }

  /** True when nothing is remembered. */
  get empty(): boolean {
    return this.#young.size === 0 && this.#old.size === 0;
  }

  get(key: K): V | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  has(key: K): boolean {
    return this.#young.has(key) || this.#old.has(key);
  }

  /** Remembers the key as one of the newest. */
  set(key: K, value: V): void {
    if (this.#young.size >= this.#least) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }

  delete(key: K): boolean {
    const wasOld = this.#old.delete(key);
    return this.#young.delete(key) || wasOld;
  }

  /** Forgets every key whose value is meant. */
  deleteIf(isMeant: (value: V) => boolean): void {
    for (const [key, value] of this.#old) if (isMeant(value)) this.#old.delete(key);
    for (const [key, value] of this.#young) if (isMeant(value)) this.delete(key);
  }
}
