// The POP3 lock: one session has the maildrop at a time (RFC 1939 §3). It lives in RAM only and dies
// with its holder's signal, with its account's credentials, or with this node's turn as primary.

import { MailError } from "../mail/errors.ts";
import type { OpId } from "../mail/ids.ts";
import type { MaildropState, Principal } from "../mail/mail-store.ts";
import type { AccountState, MaildropHolder } from "./account-state.ts";
import type { Engine } from "./engine.ts";

/** @see MailStore.lockMaildrop */
export function lockMaildrop(
  engine: Engine,
  who: Principal,
  signal: AbortSignal,
  onState?: (state: MaildropState) => void,
  name?: OpId,
): Promise<void> {
  return engine.withAccount(who, async (account) => {
    signal.throwIfAborted();
    const held = account.maildrop;
    // A session whose link broke comes back before the old link is known to be gone.
    const isOwn = name !== undefined && held?.holder === name;
    if (held !== undefined && !isOwn) throw new MailError({ code: "IN_USE" });
    const release = (): void => {
      signal.removeEventListener("abort", release);
      if (account.maildrop === holder) account.maildrop = undefined;
    };
    const holder: MaildropHolder = {
      holder: name,
      lost: (failure) => {
        release();
        onState?.({ kind: "lost", failure });
      },
    };
    account.maildrop = holder;
    signal.addEventListener("abort", release, { once: true });
  });
}

/** The account's registration changed: a session with the old password has no business here. */
export function revokeMaildrop(account: AccountState): void {
  const { state } = account.registration;
  account.maildrop?.lost({
    code:
      state === "disabled"
        ? "ACCOUNT_DISABLED"
        : state === "deleted"
          ? "NO_SUCH_ACCOUNT"
          : "STALE_CREDENTIALS",
  });
}
