// A stream of bytes that can be begun again as long as little of it was taken: what a client sends
// comes once, but a node that turns out not to be the primary says so within the first megabyte.

/** More than one upload has under way without credit, so that a refusal comes in time. */
const keptBytesMax = 1536 * 1024;
const dropped = new Uint8Array(0);

export class RepeatableChunks {
  readonly #source: AsyncIterator<Uint8Array>;
  /** What was taken, in order; emptied behind the reader once it can't be repeated. */
  readonly #taken: Uint8Array[] = [];
  #bytes = 0;
  #ended = false;
  #pulling: Promise<void> | undefined;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#source = chunks[Symbol.asyncIterator]();
  }

  /** True while all bytes can be had again. */
  get repeatable(): boolean {
    return this.#bytes <= keptBytesMax;
  }

  /**
   * From the first byte on. A reader that was given up may still wait for a chunk when the next one
   * begins: it takes nothing away.
   */
  async *fromStart(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let at = 0; ; at++) {
      while (at >= this.#taken.length && !this.#ended) {
        this.#pulling ??= this.#pull().finally(() => {
          this.#pulling = undefined;
        });
        await this.#pulling;
      }
      const chunk = this.#taken[at];
      if (chunk === undefined) return;
      if (!this.repeatable) this.#taken[at] = dropped;
      yield chunk;
    }
  }

  /** Nobody reads on. Not waited for: the source may just be waiting for its client. */
  close(): void {
    this.#source.return?.().then(ignore, ignore);
  }

  async #pull(): Promise<void> {
    const next = await this.#source.next();
    if (next.done === true) {
      this.#ended = true;
      return;
    }
    this.#taken.push(next.value);
    this.#bytes += next.value.byteLength;
  }
}

function ignore(): void {
  // How the source ends is told to whoever reads it.
}
