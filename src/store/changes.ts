// What happened in a mailbox since a MODSEQ (RFC 7162 §3.2): from the columns, and from the kept
// removals. Also flag states as sessions see them.

import { MailError } from "../mail/errors.ts";
import { modSeq, uid } from "../mail/ids.ts";
import type { MailboxId, ModSeq } from "../mail/ids.ts";
import type { FlagState, MailboxChanges, Principal } from "../mail/mail-store.ts";
import { uidSetFromRanges } from "../mail/uid-set.ts";
import type { UidSet } from "../mail/uid-set.ts";
import type { AccountState } from "./account-state.ts";
import type { Engine } from "./engine.ts";
import { afterPrefix, mailboxKey, modSeqKey, modSeqOfKey, table } from "./keyspace.ts";
import type { MailboxState, MailboxSummary } from "./mailbox-state.ts";
import { mending } from "./mending.ts";
import { openRow } from "./row.ts";

/** @see MailStore.changes */
export function changes(
  engine: Engine,
  who: Principal,
  request: {
    readonly mailbox: MailboxId;
    readonly sinceModSeq: ModSeq;
    readonly knownUidNext: number;
    readonly uidValidity?: number;
  },
): Promise<MailboxChanges> {
  return engine.withAccount(who, (account) => {
    const mailbox = account.mailbox(request.mailbox);
    return engine.withSummary(account, mailbox, async (summary) => {
      const { sinceModSeq, knownUidNext, uidValidity = mailbox.uidValidity } = request;
      if (uidValidity !== mailbox.uidValidity) throw notWhatWasKnown(mailbox, "other UIDVALIDITY");
      const { modSeq: highest, uidNext } = mailbox.counters;
      if (request.uidValidity !== undefined && (sinceModSeq > highest || knownUidNext > uidNext)) {
        throw notWhatWasKnown(mailbox, "older than what the session knows");
      }
      // Read first: while rows are read more may vanish, which the columns then show and the next call repeats.
      const older =
        sinceModSeq >= summary.vanishedSince
          ? undefined
          : await mending(engine.rows, () => storedVanished(engine, account, mailbox, sinceModSeq));
      engine.check(account, who);
      if (mailbox.gone) throw new MailError({ code: "MAILBOX_GONE", mailbox: mailbox.id });
      return changesIn(mailbox, summary, sinceModSeq, knownUidNext, older ?? []);
    });
  });
}

/** No difference would be right: a session must begin anew. */
function notWhatWasKnown(mailbox: MailboxState, why: string): MailError {
  return new MailError({ code: "MAILBOX_GONE", mailbox: mailbox.id, why });
}

function changesIn(
  mailbox: MailboxState,
  summary: MailboxSummary,
  since: number,
  knownUidNext: number,
  older: readonly UidSet[],
): MailboxChanges {
  const { columns } = summary;
  const added: FlagState[] = [];
  const changed: FlagState[] = [];
  // A session that knows all asks often, e.g. by NOOP: nothing is looked through for it.
  const count = since >= mailbox.counters.modSeq ? 0 : columns.count;
  for (let at = 0; at < count; at++) {
    if ((columns.modSeq[at] ?? 0) <= since) continue;
    const isNew = (columns.uid[at] ?? 0) >= knownUidNext;
    (isNew ? added : changed).push(flagState(summary, at));
  }
  const recent = summary.vanished.filter((each) => each.modSeq > since).map(({ uids }) => uids);
  return {
    highestModSeq: modSeq(mailbox.counters.modSeq),
    uidNext: mailbox.counters.uidNext,
    added,
    changed,
    vanished: union([...older, ...recent]),
    messages: mailbox.counters.messages,
  };
}

/** A message's state by its index in the columns. */
export function flagState(summary: MailboxSummary, at: number): FlagState {
  const { columns, keywords } = summary;
  return {
    uid: uid(columns.uid[at] ?? 0),
    modSeq: modSeq(columns.modSeq[at] ?? 0),
    flags: keywords.list(columns.flags[at] ?? 0),
  };
}

/** The union of sets. */
export function union(sets: readonly UidSet[]): UidSet {
  if (sets.length <= 1) return sets[0] ?? [];
  const ranges: [number, number][] = [];
  for (const set of sets) {
    for (let i = 0; i < set.length; i += 2) ranges.push([set[i] ?? 0, set[i + 1] ?? 0]);
  }
  return uidSetFromRanges(ranges);
}

async function storedVanished(
  engine: Engine,
  account: AccountState,
  mailbox: MailboxState,
  since: number,
): Promise<UidSet[]> {
  const from = modSeqKey(account.id, table.vanished, mailbox.id, since + 1);
  const end = afterPrefix(mailboxKey(account.id, table.vanished, mailbox.id));
  const sets: UidSet[] = [];
  for await (const rows of engine.rows.range(from, end)) {
    for (const [key, value] of rows) {
      if (modSeqOfKey(key) > since) sets.push(openRow(key, value).varints());
    }
  }
  return sets;
}
