// EXPUNGE, UID EXPUNGE (RFC 4315) and POP3's deletions: messages leave a mailbox, in one entry.

import { MailError } from "../mail/errors.ts";
import { modSeq } from "../mail/ids.ts";
import type { MailboxId, OpId } from "../mail/ids.ts";
import type { Change, ExpungeOutcome, Principal } from "../mail/mail-store.ts";
import { allUids, uidSetFromSorted } from "../mail/uid-set.ts";
import type { UidSet } from "../mail/uid-set.ts";
import type { AccountState } from "./account-state.ts";
import type { Columns } from "./columns.ts";
import type { Engine } from "./engine.ts";
import type { Counters, Op, RemovedRow } from "./entry-kind.ts";
import { deletedBit, seenBit } from "./flags.ts";
import type { MailboxState, MailboxSummary } from "./mailbox-state.ts";
import type { Outcome } from "./outcome.ts";
import { changeExclusively } from "./propose.ts";
import type { Evaluated } from "./propose.ts";

type Expunged = Extract<Outcome, { kind: "expunged" }>;

export interface ExpungeRequest extends Change {
  readonly mailbox: MailboxId;
  readonly uids?: UidSet;
  readonly force?: boolean;
  readonly maildrop?: OpId;
}

/** @see MailStore.expunge */
export async function expunge(
  engine: Engine,
  who: Principal,
  request: ExpungeRequest,
  signal: AbortSignal,
): Promise<ExpungeOutcome> {
  const outcome = await changeExclusively(
    engine,
    who,
    request,
    "expunged",
    (account) => {
      // RFC 1939 §8: whoever has the maildrop now must not see messages go.
      const holder = account.maildrop?.holder;
      if (request.maildrop !== undefined && holder !== undefined && holder !== request.maildrop) {
        throw new MailError({ code: "IN_USE" });
      }
      const mailbox = account.mailbox(request.mailbox);
      return engine.withSummary(account, mailbox, (summary) =>
        evaluate(account, mailbox, summary, request),
      );
    },
    signal,
  );
  return { highestModSeq: modSeq(outcome.highestModSeq), expunged: outcome.uids };
}

function evaluate(
  account: AccountState,
  mailbox: MailboxState,
  summary: MailboxSummary,
  request: ExpungeRequest,
): Evaluated<Expunged> {
  const force = request.force === true;
  const chosen = indexesOf(summary.columns, request.uids ?? allUids).filter(
    (at) => force || ((summary.columns.flags[at] ?? 0) & deletedBit) !== 0,
  );
  const uids = uidSetFromSorted(chosen.map((at) => summary.columns.uid[at] ?? 0));
  if (chosen.length === 0) {
    return { ops: [], outcome: { kind: "expunged", highestModSeq: mailbox.counters.modSeq, uids } };
  }
  const removal = removalOf(mailbox.counters, summary.columns, chosen);
  return {
    ops: [
      ...removalOps(mailbox, removal, false),
      {
        kind: "quota",
        use: {
          bytes: account.quota.bytes - removal.bytes,
          messages: account.quota.messages - chosen.length,
        },
      },
    ],
    outcome: { kind: "expunged", highestModSeq: removal.counters.modSeq, uids },
  };
}

/** Indexes of the set's messages that exist, ascending. */
export function indexesOf(columns: Columns, uids: UidSet): number[] {
  const indexes: number[] = [];
  for (let i = 0; i < uids.length; i += 2) {
    const high = uids[i + 1] ?? 0;
    for (let at = columns.lowerBound(uids[i] ?? 0); at < columns.count; at++) {
      if ((columns.uid[at] ?? 0) > high) break;
      indexes.push(at);
    }
  }
  return indexes;
}

/** What taking messages out comes to. */
export interface Removal {
  readonly messages: readonly RemovedRow[];
  readonly counters: Counters;
  readonly bytes: number;
}

/** @param before the mailbox's counters; the removal gets the next MODSEQ. */
export function removalOf(before: Counters, columns: Columns, chosen: readonly number[]): Removal {
  let { unseen, deleted, recent } = before;
  let bytes = 0;
  const messages = chosen.map((at): RemovedRow => {
    const flags = columns.flags[at] ?? 0;
    const uid = columns.uid[at] ?? 0;
    if ((flags & seenBit) === 0) unseen--;
    if ((flags & deletedBit) !== 0) deleted--;
    if (uid >= before.recentFrom) recent--;
    bytes += columns.size[at] ?? 0;
    return { uid, bodyTag: columns.bodyTag[at] ?? 0, bodyLsn: columns.bodyLsn[at] ?? 0 };
  });
  return {
    messages,
    bytes,
    counters: {
      ...before,
      modSeq: before.modSeq + 1,
      messages: before.messages - chosen.length,
      sizeBytes: before.sizeBytes - bytes,
      unseen,
      deleted,
      recent: Math.max(0, recent),
    },
  };
}

export function removalOps(mailbox: MailboxState, removal: Removal, moved: boolean): Op[] {
  const { messages, counters } = removal;
  return [
    { kind: "remove", mailbox: mailbox.id, modSeq: counters.modSeq, messages, moved },
    { kind: "counters", mailbox: mailbox.id, counters },
  ];
}
