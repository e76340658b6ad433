// A queue with a limit between one or more producers and one consumer. It refuses instead of
// growing; whoever is refused says so to its own client.

export class BoundedQueue<T> {
  readonly #itemsMax: number;
  #items: T[] = [];
  #head = 0;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(itemsMax: number) {
    this.#itemsMax = itemsMax;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** False when the queue is full or closed: the item was not taken. */
  push(item: T): boolean {
    if (this.#closed || this.length >= this.#itemsMax) return false;
    this.#items.push(item);
    this.#wakeUp();
    return true;
  }

  /** The oldest item now, or undefined. */
  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (this.length === 0) return undefined;
    this.#head += 1;
    if (this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** No more items; what is queued can still be taken. */
  close(): void {
    this.#closed = true;
    this.#wakeUp();
  }

  /** Items in order until the queue is closed and empty, or `signal` aborts. For one consumer. */
  async *items(signal: AbortSignal): AsyncGenerator<T, void, undefined> {
    const onAbort = (): void => this.#wakeUp();
    signal.addEventListener("abort", onAbort);
    try {
      for (;;) {
        while (this.length > 0 && !signal.aborted) {
          const item = this.shift();
          if (item !== undefined) yield item;
        }
        if (this.#closed || signal.aborted) return;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
