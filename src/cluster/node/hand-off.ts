// One producer, one consumer, one item between them: the producer waits until its item was taken, so
// that a stream copied to several members goes at the pace of the slowest.

export class HandOff<T> implements AsyncIterableIterator<T> {
  #item: { readonly value: T; readonly taken: () => void } | undefined;
  #ended = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  /** Resolves once the item was taken, or will never be. */
  push(value: T): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((resolve) => {
      this.#item = { value, taken: resolve };
      this.#wake?.();
    });
  }

  /** No more items come; with an error the consumer's next read rejects. */
  end(failure?: Error): void {
    this.#ended = true;
    this.#failure ??= failure;
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<T>> {
    for (;;) {
      const item = this.#item;
      if (item !== undefined) {
        this.#item = undefined;
        item.taken();
        return { done: false, value: item.value };
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  /** The consumer stops: the producer waits for nobody any more. */
  return(): Promise<IteratorResult<T>> {
    this.#ended = true;
    this.#item?.taken();
    this.#item = undefined;
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
