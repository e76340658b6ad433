// The POP3 lock: one session has the maildrop at a time (RFC 1939 §3). It lives in RAM only and dies
// with its holder's signal or with this node's turn as primary.

import { MailError } from "../mail/errors.ts";
import type { Principal } from "../mail/mail-store.ts";
import type { Engine } from "./engine.ts";

/** @see MailStore.lockMaildrop */
export function lockMaildrop(engine: Engine, who: Principal, signal: AbortSignal): Promise<void> {
  return engine.withAccount(who, async (account) => {
    signal.throwIfAborted();
    if (account.maildrop !== undefined) throw new MailError({ code: "IN_USE" });
    account.maildrop = signal;
    signal.addEventListener(
      "abort",
      () => {
        if (account.maildrop === signal) account.maildrop = undefined;
      },
      { once: true },
    );
  });
}
