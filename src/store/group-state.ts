// What members of groups keep at their own node (paper BC5, H20): read, and changed in the member's
// shard log like everything else of the account. The rules of a state are mail/read-state.ts's.

import { accountId } from "../mail/ids.ts";
import type { AccountId, ShardId } from "../mail/ids.ts";
import { MailError } from "../mail/errors.ts";
import { everyoneView, ownChangesMax } from "../mail/group.ts";
import type { Principal } from "../mail/mail-store.ts";
import type { MemberGroups, StateOutcome, StateRequest } from "../mail/member-states.ts";
import {
  hide,
  keywordsMax,
  newReadState,
  setFlags,
  trimmed,
  withFlag,
} from "../mail/read-state.ts";
import type { ReadState } from "../mail/read-state.ts";
import { decodeReadState, encodeReadState } from "../mail/read-state-codec.ts";
import type { MemberChange, StateChange } from "../mail/state-change.ts";
import { noUids, uidSetHas } from "../mail/uid-set.ts";
import type { UidSet } from "../mail/uid-set.ts";
import { uidSetDifference, uidSetIntersection } from "../mail/uid-set-algebra.ts";
import type { AccountState } from "./account-state.ts";
import type { Engine } from "./engine.ts";
import {
  accountInKey,
  accountKey,
  afterPrefix,
  readerKey,
  readStateKey,
  table,
} from "./keyspace.ts";
import { changeExclusively } from "./propose.ts";
import { openRow, rowHeaderBytes } from "./row.ts";

export const readStateBytesMax = 64 * 1024;

/** @see MemberStates.readGroups */
export function readGroups(
  engine: Engine,
  who: Principal,
  { under }: { readonly under: string },
): Promise<MemberGroups> {
  return engine.withAccount(who, async (account) => {
    const states = new Map<AccountId, ReadState>();
    const from = accountKey(account.id, table.readState);
    for await (const rows of engine.rows.range(from, afterPrefix(from))) {
      for (const [key, value] of rows) {
        states.set(accountId(accountInKey(key, 10)), stateIn(key, value));
      }
    }
    const { createdMs, memberships = [] } = engine.check(account, who).registration;
    const ownNames = [...account.byName.keys()].filter(
      (name) => name === under || name.startsWith(`${under}/`),
    );
    return { createdMs, memberships, states, ownNames };
  });
}

/** @see MemberStates.changeReadState */
export async function changeReadState(
  engine: Engine,
  who: Principal,
  request: StateRequest,
  signal: AbortSignal,
): Promise<StateOutcome> {
  const { change } = request;
  let changed = false;
  const evaluate = async (account: AccountState): Promise<Evaluation> => {
    const evaluation = await evaluateMemberChange(engine, account, request);
    changed = evaluation.ops.length > 0;
    return evaluation;
  };
  let modified: UidSet = noUids;
  let hidden: UidSet = noUids;
  if (change.kind === "hide") {
    const outcome = await changeExclusively(
      engine,
      who,
      request,
      "expunged",
      async (account) => {
        const { ops, state, hidden: uids } = await evaluate(account);
        return { ops, outcome: { kind: "expunged", highestModSeq: state.own, uids } };
      },
      signal,
    );
    hidden = outcome.uids;
  } else {
    const outcome = await changeExclusively(
      engine,
      who,
      request,
      "stored",
      async (account) => {
        const { ops, state, modified: left } = await evaluate(account);
        const rest = { groups: [], unchanged: noUids, modified: left };
        return { ops, outcome: { kind: "stored", highestModSeq: state.own, ...rest } };
      },
      signal,
    );
    modified = outcome.modified;
  }
  return { state: await stateAfter(engine, who, request), changed, modified, hidden };
}

/** What a change comes to, for the entry that it is part of. @throws MailError MAILBOX_GONE, LIMIT */
export async function evaluateMemberChange(
  engine: Engine,
  account: AccountState,
  request: MemberChange,
): Promise<Evaluation> {
  mustBeMember(account, request);
  const before = await stateOf(engine, account.id, request);
  const result = evaluateChange(before, request.change, request.groupModSeq);
  return { ops: result.state === before ? [] : [opOf(request, result.state)], ...result };
}

/** The state as it is once a change of it is applied. @throws MailError MAILBOX_GONE */
export function stateAfter(
  engine: Engine,
  who: Principal,
  request: MemberChange,
): Promise<ReadState> {
  return engine.withAccount(who, async (account) => {
    const state = await stateOf(engine, account.id, { ...request, oldestUid: 1 });
    engine.check(account, who);
    mustBeMember(account, request);
    return state;
  });
}

/** States that members in this shard have of the group, for statistics. */
export async function* readersOf(
  engine: Engine,
  shard: ShardId,
  group: AccountId,
): AsyncGenerator<ReadState> {
  const from = readerKey(shard, group);
  for await (const rows of engine.rows.range(from, afterPrefix(from), 500)) {
    const keys = rows.map(([key]) => readStateKey(accountId(accountInKey(key, 12)), group));
    const values = await engine.rows.getMany(keys);
    for (const [at, key] of keys.entries()) {
      const value = values[at];
      if (value !== undefined) yield stateIn(key, value);
    }
    engine.mustServe(shard);
  }
}

interface Evaluation extends Result {
  readonly ops: readonly ReturnType<typeof opOf>[];
}
interface Result {
  readonly state: ReadState;
  readonly modified: UidSet;
  readonly hidden: UidSet;
}

function evaluateChange(before: ReadState, change: StateChange, group: number): Result {
  const none = { modified: noUids, hidden: noUids };
  switch (change.kind) {
    case "subscribe": {
      const { on: subscribed } = change;
      return {
        state: subscribed === before.subscribed ? before : { ...before, subscribed },
        ...none,
      };
    }
    case "hide": {
      const uids = change.deletedOnly
        ? uidSetIntersection(change.uids, withFlag(before, "\\Deleted"))
        : change.uids;
      return { ...none, ...hide(before, uids, group) };
    }
    case "flags": {
      // Another session of the member hid some since the asker looked.
      const uids = uidSetDifference(change.uids, before.hidden);
      // Before the work: it grows with flags and ranges, and a command has room for very many of both.
      if (change.mode !== "remove" && uids.length > 0 && change.flags.length > keywordsMax) {
        throw new MailError({ code: "LIMIT", limit: "keywordsMax", most: keywordsMax });
      }
      const { state, modified } = setFlags(before, { ...change, uids, group });
      return { state, modified, hidden: noUids };
    }
  }
}

/** @throws MailError LIMIT */
function opOf(request: MemberChange, state: ReadState) {
  const bytes = encodeReadState(state);
  const limit = (name: string, most: number): MailError =>
    new MailError({ code: "LIMIT", limit: name, most });
  if (state.flags.length > keywordsMax) throw limit("keywordsMax", keywordsMax);
  if (bytes.length > readStateBytesMax) throw limit("readStateBytesMax", readStateBytesMax);
  if (state.own > ownChangesMax) throw limit("ownChangesMax", ownChangesMax);
  const { group, mailbox } = request;
  return { kind: "readState", group, mailbox, own: state.own, state: bytes } as const;
}

/** The account's state of the group, or a new one. */
async function stateOf(
  engine: Engine,
  account: AccountId,
  request: Pick<MemberChange, "group" | "uidValidity" | "oldestUid">,
): Promise<ReadState> {
  const key = readStateKey(account, request.group);
  const value = await engine.rows.get(key);
  const kept = value === undefined ? undefined : stateIn(key, value);
  if (kept?.uidValidity !== request.uidValidity) return newReadState(request.uidValidity);
  const { oldestUid } = request;
  // Only when there is something to gain: what does not change is not written.
  const isOld = kept.flags.some(({ uids }) => (uids[0] ?? oldestUid) < oldestUid);
  return isOld || uidSetHas(kept.hidden, oldestUid - 1) ? trimmed(kept, oldestUid) : kept;
}

/** @throws MailError MAILBOX_GONE */
function mustBeMember(
  { registration }: AccountState,
  { group, mailbox }: Pick<MemberChange, "group" | "mailbox">,
): void {
  const { memberships = [] } = registration;
  const isIn =
    mailbox === everyoneView
      ? registration.group === undefined
      : memberships.some((one) => one.group === group && one.mailbox === mailbox);
  if (!isIn) throw new MailError({ code: "MAILBOX_GONE", mailbox });
}

function stateIn(key: Buffer, value: Buffer): ReadState {
  openRow(key, value);
  return decodeReadState(value.subarray(rowHeaderBytes));
}
