// A gateway's copy of what a group's mailbox lists: UIDs, MODSEQs, sizes and dates, made by ordinary
// calls on the group's account. Never changed, only replaced by a newer one. When to ask again is
// group-indexes.ts's.

import { assert } from "../../lib/assert.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { parseDateTime } from "../../mail/dates.ts";
import { partsOf } from "../../mail/fetch-parts.ts";
import { modSeq } from "../../mail/ids.ts";
import type { AccountId, MailboxId, UidValidity } from "../../mail/ids.ts";
import type { MailStore, Principal } from "../../mail/mail-store.ts";
import { uidSetFromSorted, uidSetHas } from "../../mail/uid-set.ts";

export interface GroupIndex {
  readonly group: AccountId;
  /** INBOX of the group's account, where views are meant. */
  readonly mailbox: MailboxId;
  readonly uidValidity: UidValidity;
  readonly uidNext: number;
  readonly modSeq: number;
  /** Ascending; the columns below go with it. */
  readonly uids: Uint32Array;
  readonly modSeqs: Float64Array;
  readonly sizes: Float64Array;
  /** INTERNALDATE, milliseconds UTC. */
  readonly datesMs: Float64Array;
}

/** On whose behalf gateways ask for a group's messages: the group's own account. */
export function principalOf({ account, shard, credVersion }: DirectoryRow): Principal {
  return { account, shard, credVersion };
}

/** All of it. @throws what MailStore throws */
export async function loadIndex(
  store: MailStore,
  who: Principal,
  name: string,
  signal: AbortSignal,
): Promise<GroupIndex> {
  const open = await store.openMailbox(who, { name, claimRecent: false }, signal);
  const { id, uidValidity, uidNext, highestModSeq } = open.info;
  const facts = await factsOf(store, who, id, open.uids, signal);
  const found = open.uids.filter((uid) => facts.has(uid));
  return indexOf(
    { group: who.account, mailbox: id, uidValidity, uidNext, modSeq: highestModSeq },
    found,
    (uid) => facts.get(uid),
  );
}

/** The same after what has happened since; the same object when nothing did. */
export async function renewIndex(
  store: MailStore,
  row: DirectoryRow,
  index: GroupIndex,
  signal: AbortSignal,
): Promise<GroupIndex> {
  const who = principalOf(row);
  const { mailbox, uidValidity } = index;
  const news = await store.changes(
    who,
    { mailbox, uidValidity, sinceModSeq: modSeq(index.modSeq), knownUidNext: index.uidNext },
    signal,
  );
  if (news.highestModSeq === index.modSeq) return index;
  const added = news.added.map(({ uid }) => uid);
  const facts = await factsOf(store, who, mailbox, added, signal);
  const kept = index.uids.filter((uid) => !uidSetHas(news.vanished, uid));
  const places = new Map(Array.from(index.uids, (uid, at) => [uid, at]));
  const uids = Uint32Array.from([...kept, ...added.filter((uid) => facts.has(uid))]);
  const head = {
    group: index.group,
    mailbox,
    uidValidity,
    uidNext: news.uidNext,
    modSeq: news.highestModSeq,
  };
  return indexOf(head, uids, (uid) => {
    const at = places.get(uid);
    if (at === undefined) return facts.get(uid);
    return {
      modSeq: index.modSeqs[at] ?? 0,
      size: index.sizes[at] ?? 0,
      dateMs: index.datesMs[at] ?? 0,
    };
  });
}

interface Facts {
  readonly modSeq: number;
  readonly size: number;
  readonly dateMs: number;
}

type Head = Pick<GroupIndex, "group" | "mailbox" | "uidValidity" | "uidNext" | "modSeq">;

function indexOf(
  head: Head,
  uids: Uint32Array,
  factsAt: (uid: number) => Facts | undefined,
): GroupIndex {
  const facts = Array.from(uids, factsAt);
  return {
    ...head,
    uids,
    modSeqs: Float64Array.from(facts, (each) => each?.modSeq ?? 0),
    sizes: Float64Array.from(facts, (each) => each?.size ?? 0),
    datesMs: Float64Array.from(facts, (each) => each?.dateMs ?? 0),
  };
}

/** Messages that went meanwhile are left out. */
async function factsOf(
  store: MailStore,
  who: Principal,
  mailbox: MailboxId,
  uids: ArrayLike<number> & Iterable<number>,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, Facts>> {
  const facts = new Map<number, Facts>();
  if (uids.length === 0) return facts;
  const items = { modSeq: true, internalDate: true, size: true };
  const request = { mailbox, uids: uidSetFromSorted(uids), items };
  for await (const chunk of store.fetch(who, request, signal)) {
    for (const { uid, bytes } of partsOf(chunk)) facts.set(uid, factsIn(bytes));
  }
  return facts;
}

/** From `UID n MODSEQ (m) INTERNALDATE "…" RFC822.SIZE s`. */
function factsIn(bytes: Uint8Array): Facts {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
  const at = / MODSEQ \((\d+)\)/.exec(text)?.[1];
  const date = / INTERNALDATE "([^"]+)"/.exec(text)?.[1];
  const size = / RFC822\.SIZE (\d+)/.exec(text)?.[1];
  assert(at !== undefined && size !== undefined, "a FETCH yields what was asked for");
  const dateMs = date === undefined ? undefined : parseDateTime(date)?.ms;
  assert(dateMs !== undefined, "an INTERNALDATE is a date");
  return { modSeq: Number(at), size: Number(size), dateMs };
}
