// Who listens to an account. Events are merged while the listener is busy: per mailbox only the
// newest MODSEQ counts, so a slow listener costs a bounded amount of memory.

import { MailError } from "../mail/errors.ts";
import type { MailboxId } from "../mail/ids.ts";
import { modSeq } from "../mail/ids.ts";
import type { MailboxEvent } from "../mail/mail-store.ts";

export class Watchers {
  readonly #all = new Set<Watcher>();

  get size(): number {
    return this.#all.size;
  }

  add(watcher: Watcher): void {
    this.#all.add(watcher);
  }

  remove(watcher: Watcher): void {
    this.#all.delete(watcher);
  }

  changed(mailbox: MailboxId, highestModSeq: number): void {
    for (const watcher of this.#all) watcher.changed(mailbox, highestModSeq);
  }

  deleted(mailbox: MailboxId): void {
    for (const watcher of this.#all) watcher.deleted(mailbox);
  }

  listChanged(): void {
    for (const watcher of this.#all) watcher.listChanged();
  }

  revoked(): void {
    for (const watcher of this.#all) watcher.revoked();
  }

  /** This member stops serving: every listener ends with UNAVAILABLE. */
  fail(why: string): void {
    for (const watcher of this.#all) watcher.fail(new MailError({ code: "UNAVAILABLE", why }));
  }
}

/** One listener's merged events, read as an async iterable; ends when `signal` aborts. */
export class Watcher implements AsyncIterableIterator<MailboxEvent> {
  readonly #mailboxes: ReadonlySet<MailboxId> | "all";
  readonly #changed = new Map<MailboxId, number>();
  readonly #deleted = new Set<MailboxId>();
  #list = false;
  #revoked = false;
  #failure: MailError | undefined;
  #ended = false;
  #wake: (() => void) | undefined;
  readonly #onEnd: () => void;
  readonly #signal: AbortSignal;

  constructor(mailboxes: readonly MailboxId[] | "all", signal: AbortSignal, onEnd: () => void) {
    this.#mailboxes = mailboxes === "all" ? "all" : new Set(mailboxes);
    this.#onEnd = onEnd;
    this.#signal = signal;
    if (signal.aborted) this.#end();
    else signal.addEventListener("abort", this.#abort, { once: true });
  }

  changed(mailbox: MailboxId, highestModSeq: number): void {
    if (!this.#wants(mailbox)) return;
    this.#changed.set(mailbox, highestModSeq);
    this.#wake?.();
  }

  deleted(mailbox: MailboxId): void {
    if (!this.#wants(mailbox)) return;
    this.#changed.delete(mailbox);
    this.#deleted.add(mailbox);
    this.#wake?.();
  }

  listChanged(): void {
    this.#list = true;
    this.#wake?.();
  }

  revoked(): void {
    this.#revoked = true;
    this.#wake?.();
  }

  fail(error: MailError): void {
    this.#failure = error;
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<MailboxEvent>> {
    for (;;) {
      if (this.#ended) return { done: true, value: undefined };
      if (this.#failure !== undefined) {
        this.#end();
        throw this.#failure;
      }
      const event = this.#take();
      if (event !== undefined) return { done: false, value: event };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  return(): Promise<IteratorResult<MailboxEvent>> {
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #take(): MailboxEvent | undefined {
    if (this.#revoked) {
      this.#revoked = false;
      return { kind: "revoked" };
    }
    for (const mailbox of this.#deleted) {
      this.#deleted.delete(mailbox);
      return { kind: "deleted", mailbox };
    }
    if (this.#list) {
      this.#list = false;
      return { kind: "list" };
    }
    for (const [mailbox, highest] of this.#changed) {
      this.#changed.delete(mailbox);
      return { kind: "mailbox", mailbox, highestModSeq: modSeq(highest) };
    }
    return undefined;
  }

  #wants(mailbox: MailboxId): boolean {
    return this.#mailboxes === "all" || this.#mailboxes.has(mailbox);
  }

  readonly #abort = (): void => {
    this.#end();
  };

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#signal.removeEventListener("abort", this.#abort);
    this.#onEnd();
    this.#wake?.();
  }
}
