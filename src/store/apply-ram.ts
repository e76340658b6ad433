// From a committed change to the state in RAM, for accounts that are loaded. Applying a change to a
// state that already has it changes nothing, so loading may overlap with it.

import { assert, unreachable } from "../lib/assert.ts";
import type { Registration } from "../mail/account.ts";
import { uidSetFromSorted } from "../mail/uid-set.ts";
import type { AccountState } from "./account-state.ts";
import { putMessage, removeUids, setFlagGroups } from "./blocks.ts";
import type { Counters, Op } from "./entry-kind.ts";
import { revokeMaildrop } from "./maildrop.ts";
import { MailboxState } from "./mailbox-state.ts";
import type { MailboxSummary } from "./mailbox-state.ts";
import { emptyCounters } from "./entry-kind.ts";

/** Changes the account and tells its watchers. `ops` have their body lsns filled in. */
export function applyToAccount(account: AccountState, ops: readonly Op[]): void {
  const changed = new Set<MailboxState>();
  let listChanged = false;
  for (const op of ops) {
    switch (op.kind) {
      case "mailbox":
        putMailbox(account, op.row);
        listChanged = true;
        break;
      case "gone":
        dropMailbox(account, op.mailbox);
        listChanged = true;
        break;
      case "counters": {
        const mailbox = account.mailboxes.get(op.mailbox);
        if (mailbox === undefined) break;
        if (mailbox.counters.modSeq !== op.counters.modSeq) changed.add(mailbox);
        setCounters(mailbox, op.counters);
        break;
      }
      case "keywords":
      case "add":
      case "flags":
      case "remove": {
        const mailbox = account.mailboxes.get(op.mailbox);
        if (mailbox === undefined) break;
        if (mailbox.summary !== undefined) applyToSummary(mailbox.summary, op);
        else mailbox.loading?.missed.push(op);
        break;
      }
      case "quota":
        account.quota = op.use;
        break;
      case "subscribe":
        if (op.on) account.subscriptions.add(op.name);
        else account.subscriptions.delete(op.name);
        listChanged = true;
        break;
      case "account":
        account.nextMailboxId = op.nextMailboxId;
        account.lastUidValidity = op.lastUidValidity;
        break;
      case "registration": {
        const before = account.registration;
        account.registration = op.registration;
        listChanged = tellMemberships(account, before) || listChanged;
        const { credVersion, state } = op.registration;
        if (credVersion !== before.credVersion || state !== before.state) {
          account.watchers?.revoked();
          revokeMaildrop(account);
        }
        break;
      }
      case "annotation":
        listChanged = true; // Rare, and read from disk.
        break;
      case "readState":
        account.watchers?.changed(op.mailbox, op.own);
        break;
      default:
        unreachable(op);
    }
  }
  if (account.watchers === undefined) return;
  if (listChanged) account.watchers.listChanged();
  for (const mailbox of changed) account.watchers.changed(mailbox.id, mailbox.counters.modSeq);
}

/** Changes what is loaded of a mailbox's messages. */
export function applyToSummary(summary: MailboxSummary, op: Op): void {
  switch (op.kind) {
    case "keywords":
      return summary.keywords.add(op.set);
    case "add":
      for (const row of op.messages) putMessage(summary, row);
      return;
    case "flags":
      return setFlagGroups(summary, op.groups, op.modSeq);
    case "remove":
      return removeUids(summary, uidSetFromSorted(op.messages.map(({ uid }) => uid)), op.modSeq);
    default:
      assert(false, `a change of messages, not ${op.kind}`);
  }
}

/** Sets committed counters; a later claim of \Recent in RAM stays. */
export function setCounters(mailbox: MailboxState, counters: Counters): void {
  const { recentFrom } = mailbox.counters;
  mailbox.counters =
    recentFrom > counters.recentFrom
      ? { ...counters, recentFrom, recent: recentSince(counters, recentFrom) }
      : counters;
}

/** How many messages are above `from`, as far as the counters alone can tell. */
export function recentSince(counters: Counters, from: number): number {
  return Math.min(counters.messages, Math.max(0, counters.uidNext - from), counters.recent);
}

/** Tells listeners of groups that the account has left; true when it has other groups now. */
function tellMemberships(account: AccountState, before: Registration): boolean {
  const had = before.memberships ?? [];
  const has = account.registration.memberships ?? [];
  if (had === has) return false;
  const views = new Set(has.map(({ mailbox }) => mailbox));
  for (const { mailbox } of had) if (!views.has(mailbox)) account.watchers?.deleted(mailbox);
  return true;
}

function putMailbox(account: AccountState, row: Extract<Op, { kind: "mailbox" }>["row"]): void {
  const known = account.mailboxes.get(row.id);
  if (known === undefined) {
    const fresh = new MailboxState(row, emptyCounters);
    account.mailboxes.set(row.id, fresh);
    account.byName.set(row.name, fresh);
    return;
  }
  if (account.byName.get(known.name) === known) account.byName.delete(known.name);
  known.name = row.name;
  known.uidValidity = row.uidValidity;
  known.specialUse = row.specialUse;
  account.byName.set(row.name, known);
}

function dropMailbox(account: AccountState, id: MailboxState["id"]): void {
  const mailbox = account.mailboxes.get(id);
  if (mailbox === undefined) return;
  mailbox.gone = true;
  mailbox.summary = undefined;
  account.mailboxes.delete(id);
  if (account.byName.get(mailbox.name) === mailbox) account.byName.delete(mailbox.name);
  account.watchers?.deleted(id);
}
