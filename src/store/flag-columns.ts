// FETCH of FLAGS and MODSEQ alone: copied out of the columns in one pass, at one moment.

import type { FlagColumns, FlagsRequest } from "../mail/flag-columns.ts";
import { FlagColumnsBuilder } from "../mail/flag-columns.ts";
import type { Principal } from "../mail/mail-store.ts";
import { noUids } from "../mail/uid-set.ts";
import type { Engine } from "./engine.ts";
import type { MailboxSummary } from "./mailbox-state.ts";

/** @see MailStore.flags */
export function flagColumns(
  engine: Engine,
  who: Principal,
  request: FlagsRequest,
): Promise<FlagColumns> {
  return engine.withAccount(who, (account) => {
    const mailbox = account.mailbox(request.mailbox);
    return engine.withSummary(account, mailbox, (summary) => {
      engine.check(account, who);
      const { changedSince = 0 } = request;
      const isKnown = changedSince > 0 && changedSince >= mailbox.counters.modSeq;
      return columnsOf(summary, isKnown ? { ...request, uids: noUids } : request);
    });
  });
}

function columnsOf({ columns, keywords }: MailboxSummary, request: FlagsRequest): FlagColumns {
  const { uids: set, changedSince = 0 } = request;
  const { uid, flags, modSeq } = columns;
  /** Index ranges, `[from, behind)` by turns. */
  const spans: number[] = [];
  let most = 0;
  for (let i = 0; i < set.length; i += 2) {
    const from = columns.lowerBound(set[i] ?? 0);
    const behind = columns.lowerBound((set[i + 1] ?? 0) + 1);
    spans.push(from, behind);
    most += behind - from;
  }
  const out = new FlagColumnsBuilder(most, request);
  let last = -1;
  let list = 0;
  for (let i = 0; i < spans.length; i += 2) {
    const behind = spans[i + 1] ?? 0;
    for (let at = spans[i] ?? 0; at < behind; at++) {
      const changed = modSeq[at] ?? 0;
      if (changed <= changedSince) continue;
      const number = flags[at] ?? 0;
      if (number !== last) {
        list = out.list(number, () => keywords.list(number));
        last = number;
      }
      out.add(uid[at] ?? 0, list, changed);
    }
  }
  return out.done();
}
