// Watches one mailbox for a session: events while the store answers, patient retries while it does
// not. What an event means is selected.ts's business.

import { AssertionFailure } from "../../lib/assert.ts";
import { isMailError } from "../../mail/errors.ts";
import type { MailboxId } from "../../mail/ids.ts";
import type { MailboxEvent } from "../../mail/mail-store.ts";
import { failureReply } from "./reply.ts";
import type { Session } from "./session.ts";

export interface WatchHandlers {
  /** From now on nothing is missed; called again behind each interruption. */
  readonly listening: () => void;
  readonly event: (event: MailboxEvent) => void;
  /** Events may have been missed; watching goes on. */
  readonly interrupted: () => void;
}

const retryMinMs = 250;
const retryMaxMs = 5000;

/** Starts watching; the caller aborts what it is given to stop. Failures that end the session do so. */
export function watchMailbox(
  session: Session,
  mailbox: MailboxId,
  handlers: WatchHandlers,
): AbortController {
  const controller = new AbortController();
  run(session, mailbox, handlers, controller.signal).catch((error: unknown) => {
    if (error instanceof AssertionFailure) throw error; // Our bug: ends the process.
    if (controller.signal.aborted) return;
    session.services.log.error({ err: error }, "imap watch failed");
    session.endWith("Internal error");
  });
  return controller;
}

async function run(
  session: Session,
  mailbox: MailboxId,
  handlers: WatchHandlers,
  signal: AbortSignal,
): Promise<void> {
  const { store, log } = session.services;
  let retryMs = retryMinMs;
  for (;;) {
    try {
      const request = { mailboxes: [mailbox], listening: handlers.listening };
      for await (const event of store.watch(session.principal, request, signal)) {
        retryMs = retryMinMs;
        handlers.event(event);
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!isMailError(error)) throw error;
      const { bye } = failureReply(error.failure);
      if (bye !== undefined) {
        session.endWith(bye);
        return;
      }
      log.debug({ err: error, mailbox }, "imap watch interrupted");
    }
    if (signal.aborted) return;
    // Spread, so that a returning node is not asked by everybody at once.
    await pause(session, retryMs * (0.5 + Math.random()), signal);
    if (signal.aborted) return;
    retryMs = Math.min(2 * retryMs, retryMaxMs);
    handlers.interrupted();
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
