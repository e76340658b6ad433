// An async queue that starts to gather when it is made, not when it is first read, and ends when
// its signal aborts. Test support: the reader is trusted to keep up, so it has no bound.

export class EventQueue<T> implements AsyncIterableIterator<T> {
  readonly #items: T[] = [];
  readonly #waiting: ((result: IteratorResult<T>) => void)[] = [];
  readonly #onEnd: () => void;
  #ended = false;

  constructor(signal: AbortSignal, onEnd: () => void) {
    this.#onEnd = onEnd;
    if (signal.aborted) this.end();
    else signal.addEventListener("abort", () => this.end(), { once: true });
  }

  push(item: T): void {
    if (this.#ended) return;
    const reader = this.#waiting.shift();
    if (reader === undefined) this.#items.push(item);
    else reader({ done: false, value: item });
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onEnd();
    for (const reader of this.#waiting.splice(0)) reader({ done: true, value: undefined });
  }

  next(): Promise<IteratorResult<T>> {
    const item = this.#items.shift();
    if (item !== undefined) return Promise.resolve({ done: false, value: item });
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  return(): Promise<IteratorResult<T>> {
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
