// A map that keeps what was used last, up to a total size. What an entry weighs is its caller's to say.

interface Entry<K, V> {
  readonly key: K;
  readonly value: V;
  readonly bytes: number;
  older: Entry<K, V> | undefined;
  newer: Entry<K, V> | undefined;
}

/**
 * Least-recently-used cache with a byte budget. Order of use is a list of its own: taking the first
 * key out of a `Map` each time costs a walk over all that was taken out before it.
 */
export class Lru<K, V> {
  readonly #bytesMax: number;
  readonly #onEvict: ((key: K, value: V) => void) | undefined;
  readonly #entries = new Map<K, Entry<K, V>>();
  #oldest: Entry<K, V> | undefined;
  #newest: Entry<K, V> | undefined;
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
    if (entry !== this.#newest) {
      this.#unlink(entry);
      this.#append(entry);
    }
    return entry.value;
  }

  /** The value, without counting as use. */
  peek(key: K): V | undefined {
    return this.#entries.get(key)?.value;
  }

  /** Keeps `value`, evicting the oldest until the budget holds; alone above the budget, it is not kept. */
  set(key: K, value: V, bytes: number): void {
    this.delete(key);
    const entry: Entry<K, V> = { key, value, bytes, older: undefined, newer: undefined };
    this.#entries.set(key, entry);
    this.#append(entry);
    this.#bytes += bytes;
    while (this.#bytes > this.#bytesMax && this.#oldest !== undefined) {
      const evicted = this.#oldest;
      this.delete(evicted.key);
      this.#onEvict?.(evicted.key, evicted.value);
    }
  }

  delete(key: K): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined) return false;
    this.#entries.delete(key);
    this.#unlink(entry);
    this.#bytes -= entry.bytes;
    return true;
  }

  clear(): void {
    this.#entries.clear();
    this.#oldest = undefined;
    this.#newest = undefined;
    this.#bytes = 0;
  }

  /** Keys, the one used longest ago first. */
  *keys(): IterableIterator<K> {
    for (let entry = this.#oldest; entry !== undefined; entry = entry.newer) yield entry.key;
  }

  #append(entry: Entry<K, V>): void {
    entry.older = this.#newest;
    entry.newer = undefined;
    if (this.#newest === undefined) this.#oldest = entry;
    else this.#newest.newer = entry;
    this.#newest = entry;
  }

  #unlink(entry: Entry<K, V>): void {
    const { older, newer } = entry;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
  }
}
