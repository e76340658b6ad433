// Events of several sources as one stream, the newest per mailbox: a slow reader costs a bounded
// amount of memory.

import { modSeq } from "../../mail/ids.ts";
import type { MailboxId } from "../../mail/ids.ts";
import type { MailboxEvent } from "../../mail/mail-store.ts";

export class MergedEvents {
  readonly #mailboxes = new Map<MailboxId, MailboxEvent>();
  readonly #others: MailboxEvent[] = [];
  #failure: { readonly error: unknown } | undefined;
  #ended = false;
  #wake: (() => void) | undefined;

  push(event: MailboxEvent): void {
    if (event.kind === "mailbox") {
      const known = this.#mailboxes.get(event.mailbox);
      const older = known?.kind === "mailbox" ? known.highestModSeq : 0;
      const highestModSeq = modSeq(Math.max(older, event.highestModSeq));
      this.#mailboxes.set(event.mailbox, { ...event, highestModSeq });
    } else if (!this.#others.some((one) => isSame(one, event))) this.#others.push(event);
    this.#wake?.();
  }

  /** No more comes. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  fail(error: unknown): void {
    this.#failure = { error };
    this.#wake?.();
  }

  /** Until the end, or the failure, which is thrown. */
  async *events(): AsyncGenerator<MailboxEvent, void, undefined> {
    for (;;) {
      if (this.#ended) return;
      const event = this.#take();
      if (event !== undefined) {
        yield event;
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure.error;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  #take(): MailboxEvent | undefined {
    const first = this.#others.shift();
    if (first !== undefined) return first;
    for (const [mailbox, event] of this.#mailboxes) {
      this.#mailboxes.delete(mailbox);
      return event;
    }
    return undefined;
  }
}

function isSame(a: MailboxEvent, b: MailboxEvent): boolean {
  if (a.kind !== b.kind) return false;
  return a.kind !== "deleted" || (b.kind === "deleted" && a.mailbox === b.mailbox);
}
