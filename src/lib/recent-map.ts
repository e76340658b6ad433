// A map that remembers what was set lately, by number. Two generations: the old one is dropped whole.
// Taking the first key out of a `Map` each time costs a walk over all that was taken out before it.

/** Remembers at least the last `least` keys that were set, and at most twice as many. */
export class RecentMap<K, V> {
  readonly #least: number;
  #young = new Map<K, V>();
  #old = new Map<K, V>();

  constructor(least: number) {
    this.#least = least;
  }

  /** Keys that are remembered. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: K): V | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  has(key: K): boolean {
    return this.#young.has(key) || this.#old.has(key);
  }

  /** Remembers the key as the newest. */
  set(key: K, value: V): void {
    this.#old.delete(key);
    this.#young.delete(key);
    if (this.#young.size >= this.#least) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }

  delete(key: K): boolean {
    return this.#young.delete(key) || this.#old.delete(key);
  }

  /** Forgets every key whose value is meant. */
  deleteIf(isMeant: (value: V) => boolean): void {
    for (const generation of [this.#young, this.#old])
      for (const [key, value] of generation) if (isMeant(value)) generation.delete(key);
  }
}
