// Flow control of one stream or upload: a producer's gate that opens with credits, and a consumer's
// queue that gives credits back as items are taken. Knows no frames.

import { FrameError } from "./frame.ts";

/** Bytes that may be under way unasked in one stream or upload. Part of the wire format. */
export const creditWindowBytes = 4 * 256 * 1024;
/** Longest piece of an upload. */
export const pieceBytesMax = 256 * 1024;

const refillBytes = creditWindowBytes / 4;
/** Small items cost more than their bytes, so that their number is bounded too. Part of the wire format. */
const itemCostMin = 256;

/** What an item of so many head and body bytes costs. Both ends count alike. */
export function creditCost(payloadBytes: number): number {
  return Math.max(itemCostMin, payloadBytes);
}

/** The producer's side. One waiter at a time. */
export class CreditGate {
  #credit = creditWindowBytes;
  #closed = false;
  #wake: (() => void) | undefined;

  /** True while an item may be sent. The last one may go below zero. */
  get open(): boolean {
    return this.#credit > 0 && !this.#closed;
  }

  get closed(): boolean {
    return this.#closed;
  }

  spend(cost: number): void {
    this.#credit -= cost;
  }

  /** @throws {FrameError} when the other end grants more than it can have taken. */
  grant(bytes: number): void {
    this.#credit += bytes;
    if (this.#credit > creditWindowBytes) throw new FrameError("more credit than was spent");
    if (this.#credit > 0) this.#rouse();
  }

  /** Nobody wants more: the waiter goes on and sees `closed`. */
  close(): void {
    this.#closed = true;
    this.#rouse();
  }

  /** Resolves when the gate is open or closed. */
  ready(): Promise<void> {
    if (this.#credit > 0 || this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #rouse(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

interface Waiter<T> {
  readonly resolve: (result: IteratorResult<T, undefined>) => void;
  readonly reject: (error: Error) => void;
}

/** The consumer's side: an async iterator that is fed by `push`. */
export class ItemQueue<T> implements AsyncIterator<T, undefined>, AsyncIterable<T> {
  readonly #onCredit: (bytes: number) => void;
  readonly #onReturn: () => void;
  #items: ({ readonly value: T; readonly cost: number } | undefined)[] = [];
  #taken = 0;
  #queuedCost = 0;
  #owed = 0;
  #ended = false;
  #error: Error | undefined;
  #waiter: Waiter<T> | undefined;

  /** @param onCredit gives so many bytes back to the producer. @param onReturn the consumer stopped early. */
  constructor(onCredit: (bytes: number) => void, onReturn: () => void) {
    this.#onCredit = onCredit;
    this.#onReturn = onReturn;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** @throws {FrameError} when the producer sends without credit. */
  push(value: T, cost: number): void {
    if (this.#ended) return;
    const waiter = this.#waiter;
    if (waiter !== undefined) {
      this.#waiter = undefined;
      this.#repay(cost);
      waiter.resolve({ done: false, value });
      return;
    }
    if (this.#queuedCost >= creditWindowBytes) throw new FrameError("item without credit");
    this.#queuedCost += cost;
    this.#items.push({ value, cost });
  }

  /** No more items; with an error, the consumer gets it after the items before it. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    if (waiter === undefined) return;
    if (error === undefined) waiter.resolve({ done: true, value: undefined });
    else waiter.reject(error);
    this.#error = undefined;
  }

  /** As `end`, but queued items are dropped: cancelled, nobody wants them. */
  abandon(error?: Error): void {
    this.#items = [];
    this.#taken = 0;
    this.#queuedCost = 0;
    this.end(error);
  }

  next(): Promise<IteratorResult<T, undefined>> {
    const item = this.#items[this.#taken];
    if (item !== undefined) {
      // A piece that was taken is not held until the queue is compacted: 512 of them can be 128 MiB.
      this.#items[this.#taken] = undefined;
      this.#taken += 1;
      if (this.#taken === this.#items.length) {
        this.#items = [];
        this.#taken = 0;
      } else if (this.#taken === compactAt) {
        this.#items.splice(0, compactAt);
        this.#taken = 0;
      }
      this.#queuedCost -= item.cost;
      this.#repay(item.cost);
      return Promise.resolve({ done: false, value: item.value });
    }
    const error = this.#error;
    if (error !== undefined) {
      this.#error = undefined;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }

  return(): Promise<IteratorResult<T, undefined>> {
    const early = !this.#ended;
    this.abandon();
    this.#error = undefined;
    if (early) this.#onReturn();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #repay(cost: number): void {
    this.#owed += cost;
    if (this.#owed < refillBytes || this.#ended) return;
    const owed = this.#owed;
    this.#owed = 0;
    this.#onCredit(owed);
  }
}

/** Taken items at the front of the queue are dropped in groups of so many. */
const compactAt = 512;
