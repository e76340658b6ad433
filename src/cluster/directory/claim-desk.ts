// Changes of claims in the shards that this node serves, one at a time per name: read what is
// applied, decide, log. What comes while an entry of the shard is being logged goes into the next one
// together. After an unknown outcome a name stays shut until the log has settled it.
// Leaves the order of steps across shards to saga.ts, and who may ask to directory-service.ts.

import { MailError } from "../../mail/errors.ts";
import { makeAccountId } from "../../mail/ids.ts";
import type { AccountId, Epoch, Lsn, OpId, ShardId } from "../../mail/ids.ts";
import { isHeld } from "./claims.ts";
import type { Claim } from "./claims.ts";
import type { ClaimWrite, DirectoryStore } from "./directory-store.ts";

interface Stuck {
  readonly epoch: Epoch;
  readonly lsn: Lsn;
}

interface Counter {
  readonly epoch: Epoch;
  next: number;
}

/** Claims that go into one entry. */
interface Batch {
  readonly epoch: Epoch;
  readonly claims: Claim[];
  bytes: number;
  counter: number;
  /** Once it is proposed. */
  lsn: Lsn | undefined;
  logged: Promise<Lsn>;
}

/** A shard's batches, one after the other. */
interface Lane {
  /** Takes more claims until it is proposed. */
  gathering: Batch | undefined;
  /** Resolves when the last batch is committed, or is not going to be. */
  last: Promise<unknown>;
}

const batchClaims = 64;
const batchBytes = 128 * 1024;

/** What a turn may do with its name; valid until the turn ends. */
export interface ClaimTurn {
  readonly epoch: Epoch;
  readonly claim: Claim | undefined;
  /** The next account id of this shard; each is given out once, used or not. */
  readonly allot: () => AccountId;
  /** Logs the name's claim and resolves with its lsn once it is committed. */
  readonly write: (claim: Claim) => Promise<Lsn>;
}

export class ClaimDesk {
  readonly #store: DirectoryStore;
  readonly #nextOpId: () => OpId;
  readonly #queues = new Map<string, Promise<unknown>>();
  readonly #stuck = new Map<string, Stuck>();
  readonly #counters = new Map<ShardId, Counter>();
  readonly #lanes = new Map<ShardId, Lane>();
  readonly #waitingMax: number;
  #waiting = 0;

  constructor(store: DirectoryStore, nextOpId: () => OpId, waitingMax = 20_000) {
    this.#store = store;
    this.#nextOpId = nextOpId;
    this.#waitingMax = waitingMax;
  }

  /** Names that wait or are shut; a gauge. */
  get busy(): number {
    return this.#waiting + this.#stuck.size;
  }

  /**
   * Runs `work` alone with the name.
   * @throws MailError WRONG_NODE, BUSY, UNAVAILABLE (an earlier change of the name is undecided)
   */
  async turn<T>(shard: ShardId, name: string, work: (turn: ClaimTurn) => Promise<T>): Promise<T> {
    if (this.#waiting >= this.#waitingMax) {
      throw new MailError({ code: "BUSY", what: "the queue of directory changes" });
    }
    const key = `${shard} ${name}`;
    const before = this.#queues.get(key) ?? Promise.resolve();
    const mine = before.then(() => this.#run(shard, name, key, work));
    const settled = mine.then(
      () => undefined,
      () => undefined,
    );
    this.#queues.set(key, settled);
    this.#waiting++;
    try {
      return await mine;
    } finally {
      this.#waiting--;
      if (this.#queues.get(key) === settled) this.#queues.delete(key);
    }
  }

  async #run<T>(
    shard: ShardId,
    name: string,
    key: string,
    work: (turn: ClaimTurn) => Promise<T>,
  ): Promise<T> {
    const epoch = this.#store.serving(shard);
    if (epoch === undefined) throw new MailError({ code: "WRONG_NODE", shard });
    const stuck = this.#stuck.get(key);
    if (stuck !== undefined) {
      // A new epoch begins by committing or cutting everything before it.
      if (stuck.epoch === epoch && this.#store.appliedLsn(shard) < stuck.lsn) {
        throw new MailError({ code: "UNAVAILABLE", why: `a change of ${name} is undecided` });
      }
      this.#stuck.delete(key);
    }
    const counter = await this.#counter(shard, epoch);
    const claim = await this.#store.claim(shard, name);
    return work({
      epoch,
      claim,
      allot: () => makeAccountId(shard, counter.next++),
      write: (next) => this.#write(shard, epoch, key, next, counter.next - 1),
    });
  }

  /** The shard's counter in this epoch; read once, then only counted up. */
  async #counter(shard: ShardId, epoch: Epoch): Promise<Counter> {
    const known = this.#counters.get(shard);
    if (known?.epoch === epoch) return known;
    const applied = await this.#store.accountCounter(shard);
    const now = this.#counters.get(shard); // Another turn may have read it meanwhile.
    if (now?.epoch === epoch) return now;
    // Ids that an undecided entry of our own earlier epoch may hold are not given out again.
    const counter = { epoch, next: Math.max(applied + 1, now?.next ?? 1) };
    this.#counters.set(shard, counter);
    return counter;
  }

  async #write(
    shard: ShardId,
    epoch: Epoch,
    key: string,
    claim: Claim,
    accountCounter: number,
  ): Promise<Lsn> {
    const batch = this.#batch(shard, epoch);
    batch.claims.push(claim);
    batch.bytes += claim.task?.byteLength ?? 0;
    batch.counter = Math.max(batch.counter, accountCounter);
    try {
      return await batch.logged;
    } catch (error) {
      if (batch.lsn !== undefined) this.#stuck.set(key, { epoch, lsn: batch.lsn });
      throw error;
    }
  }

  /** The one that gathers now, or a new one behind those before. */
  #batch(shard: ShardId, epoch: Epoch): Batch {
    let lane = this.#lanes.get(shard);
    if (lane === undefined) {
      lane = { gathering: undefined, last: Promise.resolve() };
      this.#lanes.set(shard, lane);
    }
    const held = lane;
    const open = held.gathering;
    const fits = open !== undefined && open.claims.length < batchClaims && open.bytes < batchBytes;
    if (fits && open.epoch === epoch) return open;
    const begun = { epoch, claims: [], bytes: 0, counter: 0, lsn: undefined };
    const batch: Batch = { ...begun, logged: held.last.then(() => this.#log(shard, held, batch)) };
    held.gathering = batch;
    held.last = batch.logged.catch(() => undefined); // Told to those whose claims are in it.
    return batch;
  }

  async #log(shard: ShardId, lane: Lane, batch: Batch): Promise<Lsn> {
    if (lane.gathering === batch) lane.gathering = undefined;
    const { epoch, claims, counter: accountCounter } = batch;
    // What was read is only right in the epoch in which it was read.
    if (this.#store.serving(shard) !== epoch) throw new MailError({ code: "WRONG_NODE", shard });
    const write: ClaimWrite = { claims, accountCounter };
    const { lsn, committed } = this.#store.writeClaims(shard, this.#nextOpId(), write);
    batch.lsn = lsn;
    await committed;
    return lsn;
  }
}

/**
 * What a name's shard answers to "claim this name for that account": `taken`, or the claim to
 * write, or undefined when it is that account's already.
 */
export function claimFor(
  current: Claim | undefined,
  wanted: Pick<Claim, "name" | "account" | "target" | "opId">,
  nowMs: number,
): "taken" | Claim | undefined {
  if (isHeld(current)) return current.account === wanted.account ? undefined : "taken";
  return {
    ...wanted,
    state: "confirmed",
    uidValidityFloor: current?.uidValidityFloor ?? 0,
    timeMs: nowMs,
  };
}

/** The released claim to write, or undefined when the name isn't that account's. */
export function releaseOf(
  current: Claim | undefined,
  account: AccountId,
  opId: OpId,
  floor: number,
  nowMs: number,
): Claim | undefined {
  if (!isHeld(current) || current.account !== account) return undefined;
  return {
    name: current.name,
    account,
    target: current.target,
    state: "released",
    uidValidityFloor: Math.max(current.uidValidityFloor, floor),
    timeMs: nowMs,
    opId,
  };
}
