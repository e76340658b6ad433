// A map that keeps what was used last, up to a total size. What an entry weighs is its caller's to say.

/** Least-recently-used cache with a byte budget. Iteration order of `Map` is the order of use. */
export class Lru<K, V> {
  readonly #bytesMax: number;
  readonly #onEvict: ((key: K, value: V) => void) | undefined;
  readonly #entries = new Map<K, { readonly value: V; readonly bytes: number }>();
  #bytes = 0;

  /** @param onEvict runs for entries that the budget pushes out, not for `set` over or `delete`. */
  constructor(bytesMax: number, onEvict?: (key: K, value: V) => void) {
    this.#bytesMax = bytesMax;
    this.#onEvict = onEvict;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The value, which counts as used now. */
  get(key: K): V | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  /** The value, without counting as use. */
  peek(key: K): V | undefined {
    return this.#entries.get(key)?.value;
  }

  /** Keeps `value`, evicting the oldest until the budget holds; alone above the budget, it is not kept. */
  set(key: K, value: V, bytes: number): void {
    this.delete(key);
    this.#entries.set(key, { value, bytes });
    this.#bytes += bytes;
    if (this.#bytes <= this.#bytesMax) return;
    for (const [oldest, entry] of this.#entries) {
      this.delete(oldest);
      this.#onEvict?.(oldest, entry.value);
      if (this.#bytes <= this.#bytesMax) return;
    }
  }

  delete(key: K): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined) return false;
    this.#bytes -= entry.bytes;
    return this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  keys(): IterableIterator<K> {
    return this.#entries.keys();
  }
}
