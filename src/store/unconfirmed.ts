// Deliveries of which it is not known that the client has had its 2xx: a client that lost the answer
// sends the same again, and is then answered with the message that is there. In RAM on every member,
// kept up by entries alone; what stays longer than a checkpoint has a row. Confirmed ones are
// remembered for a while: a first try may come behind its own repetition, out of a spool or from a
// gateway that has waited. Losing one of these, or a confirmation, loses no mail: at worst there is a
// second copy, or an identical one less.

import type { Clock } from "../lib/clock.ts";
import { crashPoint } from "../lib/crash-point.ts";
import { RecentMap } from "../lib/recent-map.ts";
import { accountId, mailboxId, opId as makeOpId, shardId } from "../mail/ids.ts";
import type { AccountId, MailboxId, OpId, ShardId } from "../mail/ids.ts";
import type { DeliverPayload } from "./entry-kind.ts";
import type { Entry } from "./journal.ts";
import { afterPrefix, space, unconfirmedKey } from "./keyspace.ts";
import { beginRow, endRow, openRow } from "./row.ts";
import type { WriteQueue } from "./write-queue.ts";

/** One recipient's copy. */
export interface Unconfirmed {
  readonly fingerprint: string;
  readonly shard: ShardId;
  readonly opId: OpId;
  readonly account: AccountId;
  readonly mailbox: MailboxId;
  readonly uidValidity: number;
  readonly uid: number;
  readonly timeMs: number;
  /** False while the entry is only proposed here. */
  applied: boolean;
  /** It has a row. */
  saved: boolean;
  /** Its client has had its 2xx, which the log does not say yet: it answers nobody any more. */
  confirmed: boolean;
  /** Further operations that were answered with it. */
  others: OpId[] | undefined;
}

const keptMax = 200_000;
/** When it is one too many, so many of the oldest go: looking for the oldest one each time takes longer. */
const droppedAtOnce = keptMax / 16;
/** Confirmations that came before their delivery (it waits in a spool), and those not yet logged. */
const earlyKept = 10_000;
const waitingMax = 100_000;
/** Confirmed deliveries that are remembered, at least. */
const settledKept = 20_000;
/** Confirmations that one delivery carries along. */
const perEntryMax = 256;

interface Waiting {
  readonly sinceMs: number;
  readonly fingerprints: string[];
}

export class UnconfirmedDeliveries {
  readonly #rows: WriteQueue;
  readonly #clock: Clock;
  readonly #isOld: (one: Unconfirmed) => boolean;
  /** Oldest first. */
  readonly #byFingerprint = new Map<string, Unconfirmed>();
  readonly #byOp = new Map<OpId, Unconfirmed | Unconfirmed[]>();
  /** Applied since the last checkpoint. */
  #fresh: Unconfirmed[] = [];
  readonly #early = new RecentMap<OpId, true>(earlyKept);
  /** Confirmed lately, by fingerprint. */
  readonly #settled = new RecentMap<string, Unconfirmed>(settledKept);
  /** Confirmations on their way into the log, by shard; on the primary alone. */
  readonly #waiting = new Map<ShardId, Waiting>();

  /** @param isOld true when a delivery is not to be answered with any more. */
  constructor(rows: WriteQueue, clock: Clock, isOld: (one: Unconfirmed) => boolean) {
    this.#rows = rows;
    this.#clock = clock;
    this.#isOld = isOld;
  }

  get size(): number {
    return this.#byFingerprint.size;
  }

  /**
   * The delivery that another one with this fingerprint repeats, or is repeated by: one that is not
   * confirmed, or was stored after the other had begun.
   * @param begunMs when the message of that other one began to come from its client.
   */
  find(fingerprint: string, account: AccountId, begunMs: number): Unconfirmed | undefined {
    const found = this.#byFingerprint.get(fingerprint);
    if (found?.account === account && (!found.confirmed || found.timeMs > begunMs)) return found;
    const settled = this.#settled.get(fingerprint);
    return settled?.account === account && settled.timeMs > begunMs ? settled : undefined;
  }

  /** Reads all rows, or one shard's: before entries are applied. */
  async load(shard?: ShardId): Promise<void> {
    const prefix =
      shard === undefined
        ? Buffer.from([space.unconfirmed])
        : unconfirmedKey(shard, "").subarray(0, 3);
    const found: Unconfirmed[] = [];
    for await (const rows of this.#rows.range(prefix, afterPrefix(prefix))) {
      for (const [key, value] of rows) found.push(readUnconfirmed(key, value));
    }
    found.sort((a, b) => a.timeMs - b.timeMs);
    // What is held already has this very row.
    for (const one of found)
      if (this.#byFingerprint.get(one.fingerprint)?.opId !== one.opId) this.#put(one);
  }

  /** A delivery has been proposed: the same again waits for it. */
  proposed(shard: ShardId, opId: OpId, payload: DeliverPayload): void {
    payload.fingerprints?.forEach((fingerprint, at) => {
      const one = fingerprint === "" ? undefined : from(shard, opId, payload, fingerprint, at);
      if (one !== undefined) this.#put(one);
    });
  }

  /** A committed delivery. */
  delivered(entry: Entry, payload: DeliverPayload): void {
    const { shard, opId } = entry;
    const { fingerprints, confirmed } = payload;
    if (confirmed !== undefined) this.confirmed(confirmed);
    if (fingerprints === undefined) return;
    for (let at = 0; at < fingerprints.length; at++) {
      const fingerprint = fingerprints[at] ?? "";
      if (fingerprint === "") continue;
      let one = this.#byFingerprint.get(fingerprint);
      if (one?.opId !== opId) {
        one = from(shard, opId, payload, fingerprint, at);
        if (one === undefined) continue;
        this.#put(one);
      }
      one.applied = true;
      if (!one.saved) this.#fresh.push(one);
    }
  }

  /** Committed confirmations. */
  confirmed(fingerprints: readonly string[]): void {
    for (const fingerprint of fingerprints) {
      const one = this.#byFingerprint.get(fingerprint);
      if (one === undefined) continue;
      this.#drop(one);
      this.#settled.set(one.fingerprint, one);
    }
    crashPoint("confirm.afterCommit");
  }

  /** The client of these operations has had its 2xx. They go into the log with the next delivery. */
  confirm(shard: ShardId, opIds: readonly OpId[]): void {
    for (const opId of opIds) {
      const found = this.#byOp.get(opId);
      if (found === undefined) this.#early.set(opId, true);
      else if (Array.isArray(found)) for (const one of found) this.#wait(shard, one);
      else this.#wait(shard, found);
    }
  }

  /** The operation was answered with a delivery of another: confirming the one confirms the other. */
  answeredWith(opId: OpId, one: Unconfirmed): void {
    if (this.#byFingerprint.get(one.fingerprint) === one) this.#note(opId, one);
  }

  #note(opId: OpId, one: Unconfirmed): void {
    if (one.opId !== opId) (one.others ??= []).push(opId);
    const known = this.#byOp.get(opId);
    if (known === undefined) this.#byOp.set(opId, one);
    else if (Array.isArray(known)) known.push(one);
    else if (known !== one) this.#byOp.set(opId, [known, one]);
  }

  /** True, once, when the operation was confirmed before it came. */
  takeEarly(opId: OpId): boolean {
    return !this.#early.empty && this.#early.delete(opId);
  }

  /** Confirmations for an entry that is about to be proposed in the shard. */
  take(shard: ShardId): readonly string[] | undefined {
    const waiting = this.#waiting.get(shard);
    if (waiting === undefined) return undefined;
    if (waiting.fingerprints.length <= perEntryMax) {
      this.#waiting.delete(shard);
      return waiting.fingerprints;
    }
    return waiting.fingerprints.splice(0, perEntryMax);
  }

  /** Shards whose confirmations have found no delivery to go with for so long. */
  overdue(afterMs: number): readonly ShardId[] {
    const before = this.#clock.monotonicMs() - afterMs;
    const due: ShardId[] = [];
    for (const [shard, { sinceMs }] of this.#waiting) if (sinceMs <= before) due.push(shard);
    return due;
  }

  /** Writes rows for what has no row yet, and drops what is too old: before each checkpoint. */
  save(): void {
    for (const one of this.#fresh) {
      if (one.saved || this.#byFingerprint.get(one.fingerprint) !== one) continue;
      one.saved = true;
      putUnconfirmed(this.#rows, one);
    }
    this.#fresh = [];
    for (const one of this.#byFingerprint.values()) {
      if (!this.#isOld(one)) break;
      this.#drop(one);
    }
  }

  /** What was proposed here may never be committed, and another primary logs confirmations. */
  reset(shard: ShardId): void {
    this.#waiting.delete(shard);
    for (const one of this.#byFingerprint.values()) {
      if (!one.applied && one.shard === shard) this.#drop(one);
    }
  }

  /** Nothing of the shard stays in RAM; its rows are somebody else's business. */
  forget(shard: ShardId): void {
    this.#waiting.delete(shard);
    for (const one of this.#byFingerprint.values()) {
      if (one.shard !== shard) continue;
      one.saved = false;
      this.#drop(one);
    }
    this.#settled.deleteIf((one) => one.shard === shard);
  }

  #put(one: Unconfirmed): void {
    const before = this.#byFingerprint.get(one.fingerprint);
    if (before !== undefined) {
      // What takes its place is not confirmed by that.
      if (before.confirmed) this.#unwait(before);
      this.#drop(before);
    }
    this.#byFingerprint.set(one.fingerprint, one);
    this.#note(one.opId, one);
    if (this.#byFingerprint.size <= keptMax) return;
    for (const oldest of this.#byFingerprint.values()) {
      if (this.#byFingerprint.size <= keptMax - droppedAtOnce) break;
      this.#drop(oldest);
    }
  }

  #drop(one: Unconfirmed): void {
    this.#byFingerprint.delete(one.fingerprint);
    this.#forgetOp(one.opId, one);
    for (const opId of one.others ?? []) this.#forgetOp(opId, one);
    if (one.saved) this.#rows.del(unconfirmedKey(one.shard, one.fingerprint));
  }

  /** An operation has one of these for each recipient in the shard: the others stay. */
  #forgetOp(opId: OpId, one: Unconfirmed): void {
    const known = this.#byOp.get(opId);
    if (!Array.isArray(known)) {
      if (known === one) this.#byOp.delete(opId);
      return;
    }
    const left = known.filter((other) => other !== one);
    const [only] = left;
    if (only === undefined) this.#byOp.delete(opId);
    else this.#byOp.set(opId, left.length === 1 ? only : left);
  }

  #wait(shard: ShardId, one: Unconfirmed): void {
    one.confirmed = true;
    const { fingerprint } = one;
    const waiting = this.#waiting.get(shard);
    if (waiting === undefined) {
      this.#waiting.set(shard, {
        sinceMs: this.#clock.monotonicMs(),
        fingerprints: [fingerprint],
      });
    } else if (waiting.fingerprints.length < waitingMax) waiting.fingerprints.push(fingerprint);
  }

  #unwait({ shard, fingerprint }: Unconfirmed): void {
    const fingerprints = this.#waiting.get(shard)?.fingerprints;
    const at = fingerprints?.indexOf(fingerprint) ?? -1;
    if (at >= 0) fingerprints?.splice(at, 1);
  }
}

function from(
  shard: ShardId,
  opId: OpId,
  payload: DeliverPayload,
  fingerprint: string,
  at: number,
): Unconfirmed | undefined {
  const to = payload.recipients[at];
  if (to === undefined) return undefined;
  return {
    fingerprint,
    shard,
    opId,
    account: to.account,
    mailbox: to.mailbox,
    uidValidity: to.uidValidity,
    uid: to.uid,
    timeMs: payload.timeMs,
    applied: false,
    saved: false,
    confirmed: false,
    others: undefined,
  };
}

function putUnconfirmed(rows: WriteQueue, one: Unconfirmed): void {
  const key = unconfirmedKey(one.shard, one.fingerprint);
  const out = beginRow();
  out.f64(one.timeMs);
  out.hex(one.opId);
  out.varint(one.account);
  out.varint(one.mailbox);
  out.varint(one.uidValidity);
  out.varint(one.uid);
  rows.put(key, endRow(key));
}

function readUnconfirmed(key: Buffer, value: Buffer): Unconfirmed {
  const reader = openRow(key, value);
  return {
    fingerprint: key.toString("hex", 3),
    shard: shardId(key.readUInt16BE(1)),
    timeMs: reader.f64(),
    opId: makeOpId(reader.raw(16).toString("hex")),
    account: accountId(reader.varint()),
    mailbox: mailboxId(reader.varint()),
    uidValidity: reader.varint(),
    uid: reader.varint(),
    applied: true,
    saved: true,
    confirmed: false,
    others: undefined,
  };
}
