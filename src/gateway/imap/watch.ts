// Watches one mailbox, or all of an account, for a session: events while the store answers, patient retries while it does
// not, and BYE when that takes too long. What an event means is selected.ts's business.

import { AssertionFailure } from "../../lib/assert.ts";
import type { Timer } from "../../lib/clock.ts";
import { isMailError } from "../../mail/errors.ts";
import type { MailboxId } from "../../mail/ids.ts";
import type { MailboxEvent } from "../../mail/mail-store.ts";
import { failureReply } from "./reply.ts";
import type { Session } from "./session.ts";

export interface WatchHandlers {
  /** From now on nothing is missed; called again behind each interruption. */
  readonly listening: () => void;
  readonly event: (event: MailboxEvent) => void;
  /** The primary is away: events are missed, and asking would wait. Watching goes on. */
  readonly interrupted: () => void;
}

const retryMinMs = 250;
const retryMaxMs = 5000;

/** Starts watching; the caller aborts what it is given to stop. Failures that end the session do so. */
export function watchMailbox(
  session: Session,
  mailbox: MailboxId | "all",
  handlers: WatchHandlers,
): AbortController {
  const controller = new AbortController();
  const watch = new Watch(session, mailbox, handlers, controller.signal);
  watch.run().catch((error: unknown) => {
    if (error instanceof AssertionFailure) throw error; // Our bug: ends the process.
    if (controller.signal.aborted) return;
    session.services.log.error({ err: error }, "imap watch failed");
    session.endWith("Internal error");
  });
  return controller;
}

class Watch {
  readonly #session: Session;
  readonly #mailbox: MailboxId | "all";
  readonly #handlers: WatchHandlers;
  readonly #signal: AbortSignal;
  #retryMs = retryMinMs;
  /** Runs while the primary is away. */
  #patience: Timer | undefined;

  constructor(
    session: Session,
    mailbox: MailboxId | "all",
    handlers: WatchHandlers,
    signal: AbortSignal,
  ) {
    this.#session = session;
    this.#mailbox = mailbox;
    this.#handlers = handlers;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    const signal = this.#signal;
    try {
      while (!signal.aborted) {
        if (!(await this.#watch()) || signal.aborted) return;
        this.#interrupted();
        // Spread, so that a returning node is not asked by everybody at once.
        await pause(this.#session, this.#retryMs * (0.5 + Math.random()), signal);
        this.#retryMs = Math.min(2 * this.#retryMs, retryMaxMs);
      }
    } finally {
      this.#patience?.cancel();
    }
  }

  /** Passes events on until the store fails; false when the session ends for it. */
  async #watch(): Promise<boolean> {
    const { services, principal } = this.#session;
    const { store, log } = services;
    const request = {
      mailboxes: this.#mailbox === "all" ? ("all" as const) : [this.#mailbox],
      listening: () => this.#listening(),
      interrupted: () => this.#interrupted(),
    };
    try {
      for await (const event of store.watch(principal, request, this.#signal)) {
        this.#handlers.event(event);
      }
      return true;
    } catch (error) {
      if (this.#signal.aborted) return false;
      if (!isMailError(error)) throw error;
      const { bye } = failureReply(error.failure);
      if (bye !== undefined) this.#session.endWith(bye);
      else log.debug({ err: error, mailbox: this.#mailbox }, "imap watch interrupted");
      return bye === undefined;
    }
  }

  #listening(): void {
    this.#retryMs = retryMinMs;
    this.#patience?.cancel();
    this.#patience = undefined;
    this.#handlers.listening();
  }

  #interrupted(): void {
    if (this.#signal.aborted) return;
    this.#handlers.interrupted();
    const { services, limits } = this.#session;
    this.#patience ??= services.clock.after(limits.resyncMs, () => {
      this.#session.endWith("[UNAVAILABLE] The mail store can't be reached, connect again later");
    });
  }
}

function pause(session: Session, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = session.services.clock.after(delayMs, done);
    signal.addEventListener("abort", done, { once: true });
  });
}
