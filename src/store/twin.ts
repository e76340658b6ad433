// A delivery that repeats an unconfirmed one, or comes behind its own repetition: found before it is
// stored, and answered with the other if that message is still there. When in doubt the message is
// stored again: never one too few.

import { MailError } from "../mail/errors.ts";
import { uid, uidValidity } from "../mail/ids.ts";
import type { AccountId } from "../mail/ids.ts";
import type { DeliverOutcome, DeliverRecipient, DeliverRequest } from "../mail/mail-store.ts";
import type { AccountState } from "./account-state.ts";
import { orAborted } from "./deferred.ts";
import type { Engine } from "./engine.ts";
import type { Unconfirmed } from "./unconfirmed.ts";

/** Fingerprints that were looked at: with the outcome to answer, or undefined when the message is gone. */
export type Answered = Map<string, DeliverOutcome | undefined>;

/** The first delivery that a recipient's would repeat and that is not yet looked at. */
export function findTwin(
  { unconfirmed }: Engine,
  begunMs: number,
  recipients: readonly DeliverRecipient[],
  answered: Answered,
): Unconfirmed | undefined {
  for (const { fingerprint, account } of recipients) {
    if (fingerprint === undefined) continue;
    const twin = unconfirmed.find(fingerprint, account, begunMs);
    if (twin !== undefined && !answered.has(fingerprint)) return twin;
  }
  return undefined;
}

/**
 * Waits until the twin is committed, then notes what to answer. @throws MailError REPLICA_UNREACHABLE
 * when this member won't learn what becomes of it
 */
export async function settleTwin(
  engine: Engine,
  request: DeliverRequest,
  twin: Unconfirmed,
  accounts: ReadonlyMap<AccountId, AccountState>,
  answered: Answered,
  signal: AbortSignal,
): Promise<void> {
  if (!twin.applied) {
    await orAborted(engine.pending.applied(twin.opId), signal);
    // Committed, it is found again; if it isn't, nothing is known of it.
    if (twin.applied) return;
    throw new MailError({ code: "REPLICA_UNREACHABLE", shard: request.shard });
  }
  await engine.settled(request.shard);
  const there = await isThere(engine, twin, accounts.get(twin.account));
  if (there) engine.unconfirmed.answeredWith(request.opId, twin);
  answered.set(twin.fingerprint, there ? outcomeOf(twin) : undefined);
}

async function isThere(
  engine: Engine,
  twin: Unconfirmed,
  account: AccountState | undefined,
): Promise<boolean> {
  const mailbox = account?.mailboxes.get(twin.mailbox);
  if (account === undefined || mailbox?.uidValidity !== twin.uidValidity) return false;
  return engine.withSummary(account, mailbox, ({ columns }) => columns.indexOf(twin.uid) >= 0);
}

function outcomeOf(twin: Unconfirmed): DeliverOutcome {
  return {
    ok: true,
    mailbox: twin.mailbox,
    uidValidity: uidValidity(twin.uidValidity),
    uid: uid(twin.uid),
  };
}
