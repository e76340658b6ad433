// A queue between two ends of a simulated link: one pushes, the other iterates.

export class Pipe<T> implements AsyncIterableIterator<T> {
  readonly #items: T[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly #taken: () => void;
  #ended = false;
  #failure: Error | undefined;

  /** `taken` runs for each item that the iterating end has taken. */
  constructor(taken: () => void) {
    this.#taken = taken;
  }

  push(item: T): void {
    if (this.#ended) return;
    this.#items.push(item);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  fail(error: Error): void {
    this.#failure ??= error;
    this.end();
  }

  async next(): Promise<IteratorResult<T>> {
    for (;;) {
      const item = this.#items.shift();
      if (item !== undefined) {
        this.#taken();
        return { done: false, value: item };
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
  }

  return(): Promise<IteratorResult<T>> {
    this.#items.length = 0;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
