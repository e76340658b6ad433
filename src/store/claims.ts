// Names of users, aliases and groups: each is claimed in the shard that it hashes to, so that two
// accounts never have the same one. The saga around it (claim, create, confirm) is the cluster's.

import { MailError } from "../mail/errors.ts";
import { makeAccountId } from "../mail/ids.ts";
import type { AccountId, ShardId } from "../mail/ids.ts";
import type { Change } from "../mail/mail-store.ts";
import { background } from "./background.ts";
import { orAborted } from "./deferred.ts";
import type { Engine } from "./engine.ts";
import { readClaim } from "./claim-codec.ts";
import { encodeClaims } from "./entry-codec.ts";
import { entryKind } from "./entry-kind.ts";
import type { Claim, ClaimPayload } from "./entry-kind.ts";
import { afterPrefix, claimKey, shardKey, shardTable } from "./keyspace.ts";
import { mending } from "./mending.ts";
import { propose } from "./propose.ts";
import { openRow } from "./row.ts";

export interface ClaimRequest extends Change {
  /** The shard that the name hashes to. */
  readonly shard: ShardId;
  readonly name: string;
  /** The shard in which the account lives or will live. */
  readonly target: ShardId;
  /** Absent: a new account, whose id is allotted here. Present: an alias of that one. */
  readonly account?: AccountId;
}

/**
 * Claims a name. The same account claiming it again gets its claim as it is.
 * @throws MailError NAME_TAKEN, WRONG_NODE
 */
export function putClaim(
  engine: Engine,
  request: ClaimRequest,
  signal: AbortSignal,
): Promise<Claim> {
  return changeClaim(engine, request, signal, async (before, counter) => {
    if (before !== undefined && before.state !== "released") {
      if (before.account === request.account) return undefined;
      throw new MailError({ code: "NAME_TAKEN", name: request.name });
    }
    const allotted = request.account === undefined;
    const claim: Claim = {
      name: request.name,
      account: request.account ?? makeAccountId(request.shard, counter + 1),
      target: request.target,
      state: "claimed",
      uidValidityFloor: before?.uidValidityFloor ?? 0,
      timeMs: engine.clock.nowMs(),
      opId: request.opId,
    };
    return { claim, counter: allotted ? counter + 1 : counter };
  });
}

/** The account is there: the name is its for good. @throws MailError CONFLICT (another account's, or none) */
export function confirmClaim(
  engine: Engine,
  request: Change & { readonly shard: ShardId; readonly name: string; readonly account: AccountId },
  signal: AbortSignal,
): Promise<Claim> {
  return changeClaim(engine, request, signal, async (before, counter) => {
    if (before?.account !== request.account || before.state === "released") {
      throw new MailError({ code: "CONFLICT", why: "the name is not claimed by this account" });
    }
    if (before.state === "confirmed") return undefined;
    return { claim: { ...before, state: "confirmed" }, counter };
  });
}

/**
 * Gives a name back. What stays is a tombstone with the highest UIDVALIDITY that was given under it.
 * A name that is not this account's (any more) is left alone.
 */
export function releaseClaim(
  engine: Engine,
  request: Change & {
    readonly shard: ShardId;
    readonly name: string;
    readonly account: AccountId;
    readonly uidValidityFloor: number;
  },
  signal: AbortSignal,
): Promise<Claim | undefined> {
  return changeClaimIfAny(engine, request, signal, async (before, counter) => {
    if (before?.account !== request.account || before.state === "released") return undefined;
    const floor = Math.max(before.uidValidityFloor, request.uidValidityFloor);
    return { claim: { ...before, state: "released", uidValidityFloor: floor }, counter };
  });
}

/** The claim of a name, released ones too. */
export function claimOf(engine: Engine, shard: ShardId, name: string): Promise<Claim | undefined> {
  return mending(engine.rows, () => readClaimOf(engine, claimKey(shard, name)));
}

async function readClaimOf(engine: Engine, key: Buffer): Promise<Claim | undefined> {
  const value = await engine.rows.get(key);
  if (value === undefined) return undefined;
  const reader = openRow(key, value);
  reader.varint();
  return readClaim(reader);
}

/** A claim with its lsn in the shard's stream. */
export interface ListedClaim {
  readonly lsn: number;
  readonly claim: Claim;
}

/** All claims of a shard by name, in batches. */
export async function* listClaims(
  engine: Engine,
  shard: ShardId,
): AsyncGenerator<readonly ListedClaim[]> {
  const prefix = claimKey(shard, "");
  for await (const rows of engine.rows.range(prefix, afterPrefix(prefix), 500)) {
    yield rows.map(([key, value]) => {
      const reader = openRow(key, value);
      return { lsn: reader.varint(), claim: readClaim(reader) };
    });
  }
}

type Decide = (
  before: Claim | undefined,
  counter: number,
) => Promise<{ readonly claim: Claim; readonly counter: number } | undefined>;

async function changeClaim(
  engine: Engine,
  request: Change & { readonly shard: ShardId; readonly name: string },
  signal: AbortSignal,
  decide: Decide,
): Promise<Claim> {
  const claim = await changeClaimIfAny(engine, request, signal, decide);
  if (claim === undefined) throw new MailError({ code: "CONFLICT", why: "no such claim" });
  return claim;
}

/** Decides with the shard's names to itself, logs what is decided, and answers the claim as it is then. */
async function changeClaimIfAny(
  engine: Engine,
  request: Change & { readonly shard: ShardId; readonly name: string },
  signal: AbortSignal,
  decide: Decide,
): Promise<Claim | undefined> {
  const { shard, name, opId } = request;
  engine.mustServe(shard);
  const lock = engine.shardLock(shard);
  await lock.exclusive(signal);
  let release: (() => void) | undefined = () => lock.releaseExclusive();
  try {
    // Who had the lock may have lost it with its epoch: its claim is applied before we serve again.
    engine.mustServe(shard);
    const before = await claimOf(engine, shard, name);
    if (request.retry && before?.opId === opId) return before;
    const decided = await decide(before, await accountCounter(engine, shard));
    engine.mustServe(shard);
    if (decided === undefined) return before;
    const claim: ClaimPayload = {
      claims: [{ ...decided.claim, opId }],
      accountCounter: decided.counter,
    };
    const committed = propose(engine, {
      shard,
      opId,
      kind: entryKind.claim,
      head: encodeClaims(claim),
      payload: { kind: "claim", claim },
      accounts: [],
    });
    background(engine.pending.applied(opId).finally(release));
    release = undefined;
    await orAborted(committed, signal);
    return claim.claims[0];
  } finally {
    release?.();
  }
}

async function accountCounter(engine: Engine, shard: ShardId): Promise<number> {
  const key = shardKey(shard, shardTable.accountCounter);
  const value = await engine.rows.get(key);
  return value === undefined ? 0 : openRow(key, value).varint();
}
