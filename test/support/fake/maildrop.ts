// The POP3 maildrop of a fake account: one holder at a time, the same one again takes it over.

import { MailError } from "../../../src/mail/errors.ts";
import type { OpId } from "../../../src/mail/ids.ts";
import type { MaildropState } from "../../../src/mail/mail-store.ts";
import type { FakeAccount } from "./account.ts";

/** @throws MailError IN_USE */
export function holdMaildrop(
  account: FakeAccount,
  signal: AbortSignal,
  onState: ((state: MaildropState) => void) | undefined,
  name: OpId | undefined,
): void {
  const held = account.maildrop;
  if (held !== undefined && (name === undefined || held.name !== name)) {
    throw new MailError({ code: "IN_USE" });
  }
  const holder: FakeAccount["maildrop"] = {
    name,
    lost: (failure) => {
      if (account.maildrop === holder) account.maildrop = undefined;
      onState?.({ kind: "lost", failure });
    },
  };
  account.maildrop = holder;
  const release = (): void => {
    if (account.maildrop === holder) account.maildrop = undefined;
  };
  signal.addEventListener("abort", release, { once: true });
}
