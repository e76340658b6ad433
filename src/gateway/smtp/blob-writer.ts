// A large body on its way to one shard's disks: turns pushes into the stream that the store writes,
// holds the pusher back while the store is slow, and ends or breaks off that stream.

import { noteShortLived } from "../../lib/short-lived.ts";
import type { BlobRef } from "../../mail/mail-store.ts";
import { MailError } from "../../mail/errors.ts";

/** Bytes that may wait for the store before the client is held back. */
const queuedBytesMax = 256 * 1024;

export class BlobWriter {
  readonly #queue: Buffer[] = [];
  #queuedBytes = 0;
  /** `settled`: the store is done with the stream, well or not; nothing is queued any more. */
  #state: "open" | "ended" | "aborted" | "settled" = "open";
  #wakeReader: (() => void) | undefined;
  #room: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  readonly #written: Promise<BlobRef>;

  constructor(write: (chunks: AsyncIterable<Uint8Array>) => Promise<BlobRef>) {
    this.#written = write(this.#chunks());
    // `finish` reports a failure; until then nobody may hang, and the rest is swallowed.
    const settle = (): void => this.#settle();
    this.#written.then(settle, settle);
  }

  /** Queues a chunk. Ask `room` before the next. */
  push(chunk: Buffer): void {
    if (this.#state !== "open") return;
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.length;
    noteShortLived(chunk.length);
    this.#wakeReader?.();
  }

  /** Undefined while there is room, else a promise that resolves when there is again. Never rejects. */
  get room(): Promise<void> | undefined {
    if (this.#queuedBytes < queuedBytesMax) return undefined;
    this.#room ??= deferred();
    return this.#room.promise;
  }

  /** No more comes. Resolves once the body is on its disks; rejects as the store does. */
  async finish(): Promise<BlobRef> {
    if (this.#state === "open") this.#state = "ended";
    this.#wakeReader?.();
    return this.#written;
  }

  /** Breaks the stream off, so that the store drops what it has. */
  abort(): void {
    if (this.#state === "settled") return;
    this.#state = "aborted";
    this.#drop();
    this.#wakeReader?.();
  }

  #settle(): void {
    this.#state = "settled";
    this.#drop();
  }

  #drop(): void {
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#release();
  }

  #release(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }

  async *#chunks(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) {
        this.#queuedBytes -= chunk.length;
        if (this.#queuedBytes < queuedBytesMax / 2) this.#release();
        yield chunk;
        continue;
      }
      if (this.#state === "aborted")
        throw new MailError({ code: "UNAVAILABLE", why: "the client went away" });
      if (this.#state !== "open") return;
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
      });
    }
  }
}

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
