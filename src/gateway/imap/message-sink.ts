// Takes in a message of unknown size piece by piece: small ones stay in memory, larger ones go to the
// store as a blob while they come. Both are indexed on the way. Memory is bounded by one piece beyond
// `inlineBytesMax`, since a piece waits until the one before it was taken.

import type { MessageSource } from "../../mail/mail-store.ts";
import type { MessageIndex } from "../../mail/message-index.ts";
import { MessageIndexer } from "../../mail/mime/indexer.ts";

/** Stores chunks as a blob. */
export type BlobWriter = (chunks: AsyncIterable<Uint8Array>) => Promise<MessageSource>;

export class MessageSink {
  readonly #indexer = new MessageIndexer();
  readonly #inlineBytesMax: number;
  readonly #writeBlob: BlobWriter;
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  #blob: { readonly queue: PieceQueue; readonly written: Promise<MessageSource> } | undefined;

  constructor(inlineBytesMax: number, writeBlob: BlobWriter) {
    this.#inlineBytesMax = inlineBytesMax;
    this.#writeBlob = writeBlob;
  }

  /** Bytes so far. */
  get bytes(): number {
    return this.#bytes;
  }
  /** Bytes that are held in memory. */
  get inlineBytes(): number {
    return this.#blob === undefined ? this.#bytes : 0;
  }

  /** The bytes must not change afterwards. @throws what the blob's writer throws */
  async push(bytes: Uint8Array): Promise<void> {
    this.#indexer.push(bytes);
    this.#bytes += bytes.length;
    if (this.#blob === undefined) {
      this.#pieces.push(bytes);
      if (this.#bytes <= this.#inlineBytesMax) return;
      const queue = new PieceQueue();
      const written = this.#writeBlob(queue.pieces());
      written.catch((error: unknown) => queue.fail(error));
      this.#blob = { queue, written };
      for (const piece of this.#pieces) await queue.push(piece);
      this.#pieces = [];
      return;
    }
    await this.#blob.queue.push(bytes);
  }

  async finish(): Promise<{ readonly source: MessageSource; readonly index: MessageIndex }> {
    if (this.#blob === undefined) {
      const [only] = this.#pieces;
      const bytes =
        this.#pieces.length === 1 && only !== undefined ? only : Buffer.concat(this.#pieces);
      return { source: { kind: "bytes", bytes }, index: this.#indexer.finish() };
    }
    this.#blob.queue.end();
    return { source: await this.#blob.written, index: this.#indexer.finish() };
  }

  /** The message is not wanted any more; a blob that was begun is left to the store's upkeep. */
  cancel(): void {
    this.#blob?.queue.fail(new Error("the message was refused"));
  }
}

/** One piece at a time from a pusher to a puller. */
class PieceQueue {
  #piece: Uint8Array | undefined;
  #ended = false;
  #failure: { readonly error: unknown } | undefined;
  #wake: (() => void) | undefined;

  async push(piece: Uint8Array): Promise<void> {
    await this.#until(() => this.#piece === undefined);
    this.#piece = piece;
    this.#signal();
  }
  end(): void {
    this.#ended = true;
    this.#signal();
  }
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#signal();
  }

  async *pieces(): AsyncGenerator<Uint8Array, void, void> {
    for (;;) {
      await this.#until(() => this.#piece !== undefined || this.#ended);
      const piece = this.#piece;
      if (piece === undefined) return;
      this.#piece = undefined;
      this.#signal();
      yield piece;
    }
  }

  async #until(ready: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure.error;
      if (ready()) return;
      await new Promise<void>((resolve) => {
        const before = this.#wake;
        this.#wake = () => {
          before?.();
          resolve();
        };
      });
    }
  }
  #signal(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
