// How a change gets into the log: shared by deliveries, and the frame of all exclusive changes of
// one account (lock, wait for what is under way, evaluate, propose, wait until applied).

import { background } from "./background.ts";
import { deferred, orAborted } from "./deferred.ts";
import type { OpId, ShardId } from "../mail/ids.ts";
import type { Change } from "../mail/mail-store.ts";
import { MailError } from "../mail/errors.ts";
import type { AccountState } from "./account-state.ts";
import type { Access, Engine } from "./engine.ts";
import { encodeChange } from "./entry-codec.ts";
import { entryKind } from "./entry-kind.ts";
import type { BodyPart, ChangePayload, Op, Payload } from "./entry-kind.ts";
import { outcomeKey } from "./keyspace.ts";
import { decodeOutcome, encodeOutcome } from "./outcome.ts";
import type { Outcome } from "./outcome.ts";
import { openRow } from "./row.ts";

export interface Proposal {
  readonly shard: ShardId;
  readonly opId: OpId;
  readonly kind: number;
  readonly head: Uint8Array;
  readonly payload: Payload;
  readonly body?: Uint8Array;
  readonly blobs?: readonly string[];
  readonly accounts: readonly AccountState[];
}

/** Logs an entry. Resolves once it is committed and applied. @throws MailError as Journal.propose */
export function propose(engine: Engine, proposal: Proposal): Promise<void> {
  const { shard, opId, kind, head, payload, body, blobs, accounts } = proposal;
  engine.pending.add(opId, { shard, accounts, settled: [] });
  try {
    const { committed } = engine.journal.propose({
      shard,
      opId,
      kind,
      head,
      payload,
      ...(body === undefined ? {} : { body }),
      ...(blobs === undefined || blobs.length === 0 ? {} : { blobs }),
    });
    for (const account of accounts) account.underWay++;
    return committed;
  } catch (error) {
    engine.pending.take(opId);
    throw error;
  }
}

/** What a change comes to: its operations and the outcome to answer and keep. */
export interface Evaluated<T extends Outcome> {
  /** None: nothing changes, nothing is logged. */
  readonly ops: readonly Op[];
  readonly outcome: T;
  readonly parts?: readonly BodyPart[];
  readonly statics?: readonly Uint8Array[];
  readonly body?: Uint8Array;
}

/**
 * Runs an exclusive change of one account. `evaluate` sees committed state only, with nothing under way.
 * A known opId is answered with its kept outcome.
 */
export async function changeExclusively<K extends Outcome["kind"]>(
  engine: Engine,
  who: Access,
  change: Change,
  kind: K,
  evaluate: (account: AccountState) => Promise<Evaluated<Extract<Outcome, { kind: K }>>>,
  signal: AbortSignal,
): Promise<Extract<Outcome, { kind: K }>> {
  const { opId } = change;
  const retry = engine.pending.isAgain(opId, change.retry);
  while (engine.pending.has(opId)) await orAborted(engine.pending.finished(opId), signal);
  return engine.pending.request(opId, () =>
    runExclusively(engine, who, { opId, retry }, kind, evaluate, signal),
  );
}

function runExclusively<K extends Outcome["kind"]>(
  engine: Engine,
  who: Access,
  change: Change,
  kind: K,
  evaluate: (account: AccountState) => Promise<Evaluated<Extract<Outcome, { kind: K }>>>,
  signal: AbortSignal,
): Promise<Extract<Outcome, { kind: K }>> {
  return engine.withAccount(who, async (account) => {
    if (engine.rows.full) await orAborted(engine.rows.room(), signal);
    await account.lock.exclusive(signal);
    let release: (() => void) | undefined = () => account.lock.releaseExclusive();
    try {
      await settled(engine, account, signal);
      engine.check(account, who);
      const kept = change.retry ? await keptOutcome(engine, account, change.opId) : undefined;
      if (kept !== undefined) {
        await engine.settled(account.shard);
        engine.check(account, who);
        return asKind(kept, kind);
      }
      const evaluated = await evaluate(account);
      engine.check(account, who);
      if (evaluated.ops.length === 0) return evaluated.outcome;
      const committed = proposeChange(engine, account, change.opId, evaluated);
      // The lock is kept until the entry is applied, also when the caller's wait ends before.
      background(engine.pending.applied(change.opId).finally(release));
      release = undefined;
      await orAborted(committed, signal);
      tidyTouched(engine, account, evaluated.ops);
      return evaluated.outcome;
    } finally {
      release?.();
    }
  });
}

/** Proposes the operations of one account's change. */
export function proposeChange(
  engine: Engine,
  account: AccountState,
  opId: OpId,
  evaluated: Omit<Evaluated<Outcome>, "outcome"> & { readonly outcome?: Outcome },
): Promise<void> {
  const { ops, outcome, parts = [], statics = [], body } = evaluated;
  const change: ChangePayload = {
    account: account.id,
    timeMs: engine.clock.nowMs(),
    parts,
    statics,
    ops,
    outcome: outcome === undefined ? new Uint8Array(0) : encodeOutcome(outcome),
  };
  const blobs = parts.flatMap((part) => (part.kind === "blob" ? [part.id] : []));
  const committed = propose(engine, {
    shard: account.shard,
    opId,
    kind: entryKind.change,
    head: encodeChange(change),
    payload: { kind: "change", change },
    ...(body === undefined ? {} : { body }),
    blobs,
    accounts: [account],
  });
  for (const op of ops) {
    if (op.kind === "quota") account.nextQuota = op.use;
    else if (op.kind === "counters") {
      const mailbox = account.mailboxes.get(op.mailbox);
      if (mailbox !== undefined) mailbox.next = op.counters;
    }
  }
  return committed;
}

/** The outcome kept for an operation of the last 24 hours. */
async function keptOutcome(
  engine: Engine,
  account: AccountState,
  opId: OpId,
): Promise<Outcome | undefined> {
  const key = outcomeKey(account.id, opId);
  const value = await engine.rows.get(key);
  if (value === undefined) return undefined;
  const reader = openRow(key, value);
  if (engine.ageMs(account.shard, reader.f64()) > engine.limits.outcomeKeptMs) return undefined;
  return decodeOutcome(reader);
}

/** Resolves when everything proposed for the account has been applied. */
async function settled(engine: Engine, account: AccountState, signal: AbortSignal): Promise<void> {
  while (account.underWay > 0) {
    const done = deferred<void>();
    account.onSettled.push(done.resolve);
    await orAborted(done.promise, signal);
  }
  engine.mustServe(account.shard);
}

/** Folds and pages what `ops` changed, where enough has gathered. */
export function tidyTouched(engine: Engine, account: AccountState, ops: readonly Op[]): void {
  for (const op of ops) {
    if (op.kind !== "counters") continue;
    const mailbox = account.mailboxes.get(op.mailbox);
    if (mailbox !== undefined) engine.accounts.tidy(account, mailbox);
  }
}

function asKind<K extends Outcome["kind"]>(
  outcome: Outcome,
  kind: K,
): Extract<Outcome, { kind: K }> {
  if (isKind(outcome, kind)) return outcome;
  throw new MailError({ code: "CONFLICT", why: "another operation had this id" });
}

function isKind<K extends Outcome["kind"]>(
  outcome: Outcome,
  kind: K,
): outcome is Extract<Outcome, { kind: K }> {
  return outcome.kind === kind;
}
