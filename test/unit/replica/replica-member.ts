// One replica machine of the tests' small cluster, with an in-memory log whose fsync is a separate step,
// and what its disk keeps over a crash. Its network and the others are replica-world.ts.

import { epoch, lsn, memberId, storeId } from "../../../src/mail/ids.ts";
import type { MemberId } from "../../../src/mail/ids.ts";
import { makeReplica, serves, stepReplica } from "../../../src/cluster/protocol/replica.ts";
import type { ReplicaState } from "../../../src/cluster/protocol/replica-state.ts";
import type {
  ReplicaEffect,
  ReplicaEvent,
  ReplicaMessage,
  WireEntry,
} from "../../../src/cluster/protocol/replica-types.ts";
import type { Copy, ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";

import type { World } from "./replica-world.ts";

export type Op = string;
export type Entry = WireEntry<Op> & { readonly mark: number };

export interface Packet {
  readonly from: string;
  readonly to: string;
  readonly message: ReplicaMessage<Op>;
}

export interface Tail {
  readonly baseLsn: number;
  readonly baseHash: number;
  entries: Entry[];
  durable: number;
}

/** No lease is asked for. */
export const noLeases = (): number => Number.POSITIVE_INFINITY;

export function copyOf(node: string): Copy {
  return { node: memberId(node), store: storeId(`store-${node}`) };
}

/** One member: machine, log, and what its disk keeps over a crash. */
export class Member {
  readonly name: string;
  log: Entry[] = [];
  durable = 0;
  /** Their entries are not on the disk yet. */
  #feeds: Extract<ReplicaEffect<Op>, { kind: "feed" }>[] = [];
  config: ShardConfig | undefined;
  sealed = 0;
  sealedDurable = 0;
  tail: Tail | undefined;
  state: ReplicaState;
  leaseStartMs: (node: MemberId) => number = noLeases;
  heardMs = Number.POSITIVE_INFINITY;
  lastGrantedMs = Number.NEGATIVE_INFINITY;
  /** What answered seals, handovers and grafts, and what was asked of the shell. */
  readonly answers: ReplicaEffect<Op>[] = [];
  shown = 0;
  inc = 0;
  applied: number[] = [];
  committed = 0;
  readonly alarms: string[] = [];
  readonly refused: { ref: Op; why: string }[] = [];
  readonly expired: number[] = [];
  blobs = new Set<string>();
  readonly #world: World;
  #proposing = 0;

  constructor(name: string, world: World) {
    this.name = name;
    this.#world = world;
    this.state = this.#recover();
  }

  #recover(): ReplicaState {
    this.inc += 1;
    const marks = this.log.map((entry) => entry.mark);
    const applied = Math.max(0, ...marks);
    this.committed = applied;
    this.shown = applied;
    const { tail } = this;
    return makeReplica(
      copyOf(this.name),
      this.inc,
      {
        config: this.config,
        sealedEpoch: epoch(this.sealedDurable),
        ...(tail === undefined
          ? {}
          : {
              first: {
                baseLsn: lsn(tail.baseLsn),
                baseHash: tail.baseHash,
                hashes: tail.entries.map((entry) => entry.hash),
              },
            }),
        appliedLsn: lsn(applied),
        appliedHash: this.log[applied - 1]?.hash ?? 0,
        endEpoch: epoch(this.log.at(-1)?.epoch ?? 0),
        tail: this.log.slice(applied).map((entry) => entry.hash),
      },
      this.#world.limits,
      this.#world.nowMs,
    );
  }

  /** Loses what was not synced, then starts again and reads the table. */
  crash(): void {
    this.#feeds = [];
    this.log = this.log.slice(0, this.durable);
    if (this.tail !== undefined) {
      this.tail = { ...this.tail, entries: this.tail.entries.slice(0, this.tail.durable) };
    }
    this.sealed = this.sealedDurable;
    this.state = this.#recover();
  }

  /** On the disk, in the own log or the tail-first one. */
  holds(entry: { readonly lsn: number; readonly hash: number }): boolean {
    const { tail } = this;
    if (this.durable >= entry.lsn && this.log[entry.lsn - 1]?.hash === entry.hash) return true;
    const at = tail === undefined ? -1 : entry.lsn - tail.baseLsn - 1;
    return tail !== undefined && at < tail.durable && tail.entries[at]?.hash === entry.hash;
  }

  sync(): void {
    this.durable = this.log.length;
    for (const feed of this.#feeds.splice(0)) this.#ship(feed);
    const last = this.log.at(-1);
    if (last !== undefined) {
      this.step({ kind: "durable", tail: false, lsn: last.lsn, hash: last.hash });
    }
    const { tail } = this;
    const end = tail?.entries.at(-1);
    if (tail !== undefined && end !== undefined) {
      tail.durable = tail.entries.length;
      this.step({ kind: "durable", tail: true, lsn: end.lsn, hash: end.hash });
    }
    if (this.sealed === this.sealedDurable) return;
    this.sealedDurable = this.sealed;
    const { nowMs } = this.#world;
    this.step({ kind: "sealDurable", epoch: epoch(this.sealed), nowMs });
  }

  /** A full copy of `other`'s entries up to `through` has arrived. */
  take(other: Member, through: number): void {
    this.log = other.log.slice(0, through);
    this.durable = through;
    this.committed = through;
    this.shown = through;
    const hash = this.log.at(-1)?.hash ?? 0;
    const { nowMs } = this.#world;
    this.step({ kind: "copied", point: { lsn: lsn(through), hash }, nowMs });
  }

  tick(): void {
    const { leaseStartMs, heardMs } = this;
    this.step({ kind: "tick", nowMs: this.#world.nowMs, leaseStartMs, heardMs });
  }

  step(event: ReplicaEvent<Op>): void {
    const out: ReplicaEffect<Op>[] = [];
    stepReplica(this.state, event, out);
    for (const effect of out) this.#perform(effect);
  }

  propose(ref: Op, bytes = 100): void {
    this.#proposing = bytes;
    const { leaseStartMs } = this;
    this.step({ kind: "propose", ref, bytes, nowMs: this.#world.nowMs, leaseStartMs });
  }

  get serves(): boolean {
    return serves(this.state, this.#world.nowMs, this.leaseStartMs);
  }

  #perform(effect: ReplicaEffect<Op>): void {
    switch (effect.kind) {
      case "append": {
        const ref = effect.ref ?? `newEpoch ${effect.epoch}`;
        const { lsn: at, prevHash } = effect;
        const hash = this.#world.hashOf(prevHash, ref);
        const { epoch: of, mark } = effect;
        this.log.push({ lsn: at, epoch: of, hash, prevHash, missing: [], ref, mark });
        const { nowMs } = this.#world;
        this.step({ kind: "logged", lsn: at, hash, bytes: this.#proposing, nowMs });
        return;
      }
      case "appendRaw":
        if (effect.tail) {
          this.#appendTail(effect.entry);
          return;
        }
        if (effect.entry.lsn !== this.log.length + 1) throw new Error("appended out of order");
        this.log.push({ ...effect.entry, mark: this.#world.markOf(effect.entry.hash) });
        return;
      case "saveCut":
        this.#world.saves += 1;
        this.step({ kind: "cutSaved", afterLsn: effect.afterLsn, endLsn: effect.endLsn });
        return;
      case "cut":
        if (effect.tail) {
          this.#cutTail(effect.afterLsn);
          return;
        }
        if (effect.afterLsn < this.shown) throw new Error("cut below what is shown");
        this.log.length = effect.afterLsn;
        this.durable = Math.min(this.durable, effect.afterLsn);
        this.#world.cuts += 1;
        return;
      case "persistConfig":
        this.config = effect.config;
        return;
      case "commit":
        this.#commit(effect.fromLsn, effect.throughLsn);
        return;
      case "show":
        if (effect.fromLsn !== this.shown + 1) throw new Error("shown out of order");
        this.shown = effect.throughLsn;
        this.step({ kind: "applied", lsn: effect.throughLsn });
        return;
      case "persistSeal":
        this.sealed = effect.epoch;
        return;
      case "revoke": {
        const { lastGrantedMs } = this;
        const { nowMs } = this.#world;
        this.step({ kind: "revoked", epoch: effect.epoch, lastGrantedMs, nowMs });
        return;
      }
      case "startTail": {
        const base = { baseLsn: effect.afterLsn, baseHash: effect.afterHash };
        this.tail = { ...base, entries: [], durable: 0 };
        return;
      }
      case "dropTail":
        this.tail = undefined;
        return;
      case "sendPulled":
        this.#sendPulled(effect);
        return;
      case "sealed":
      case "sealRefused":
      case "handedOver":
      case "handOverRefused":
      case "grafted":
      case "copy":
        this.answers.push(effect);
        return;
      case "report":
        return;
      case "ship":
      case "feed":
        this.#ship(effect);
        return;
      case "send":
        this.#world.post({ from: this.name, to: effect.to, message: effect.message });
        return;
      case "sendBlobs":
        for (const blob of effect.blobs) this.#world.member(effect.to).blobs.add(blob);
        this.step({
          kind: "blobsSent",
          to: effect.to,
          toInc: effect.toInc,
          tail: effect.tail,
          nowMs: this.#world.nowMs,
        });
        return;
      case "refuse":
        this.refused.push({ ref: effect.ref, why: effect.why });
        return;
      case "expire":
        this.expired.push(effect.throughLsn);
        return;
      case "alarm":
        this.alarms.push(effect.why);
        return;
      case "refreshTable":
        return;
    }
  }

  #commit(from: number, through: number): void {
    if (from !== this.committed + 1) throw new Error(`applied ${from} behind ${this.committed}`);
    for (let at = from; at <= through; at += 1) {
      const entry = this.log[at - 1];
      if (entry === undefined) throw new Error("committed what is not in the log");
      this.#world.onCommit(this, entry);
      if (at > this.shown) this.applied.push(at);
    }
    this.committed = through;
    this.shown = Math.max(this.shown, through);
    this.step({ kind: "applied", lsn: lsn(through) });
  }

  #ship(effect: Extract<ReplicaEffect<Op>, { kind: "ship" | "feed" }>): void {
    const { to, toInc, tail, fromLsn, epoch: of, mark } = effect;
    // A feed reads the disk, and at most three entries, so that catching up takes several rounds.
    if (effect.kind === "feed" && this.durable < fromLsn) {
      this.#feeds.push(effect);
      return;
    }
    const most = effect.kind === "feed" ? Math.min(fromLsn + 2, this.durable) : effect.throughLsn;
    const entries = this.log.slice(fromLsn - 1, Math.min(most, effect.throughLsn));
    const prevHash = entries[0]?.prevHash ?? 0;
    const prevLsn = lsn(fromLsn - 1);
    const base = { epoch: of, fromInc: this.inc, toInc, tail, prevLsn, prevHash, mark };
    this.#world.post({ from: this.name, to, message: { kind: "append", ...base, entries } });
    if (effect.kind === "ship") return;
    const throughLsn = lsn(fromLsn + entries.length - 1);
    this.step({ kind: "fed", to, toInc, tail, throughLsn, nowMs: this.#world.nowMs });
  }

  #appendTail(entry: WireEntry<Op>): void {
    const { tail } = this;
    if (tail === undefined) throw new Error("no tail is kept");
    if (entry.lsn !== tail.baseLsn + tail.entries.length + 1) throw new Error("tail out of order");
    tail.entries.push({ ...entry, mark: 0 });
  }

  #cutTail(after: number): void {
    const { tail } = this;
    if (tail === undefined || after < tail.baseLsn) throw new Error("cut below the tail");
    tail.entries.length = after - tail.baseLsn;
    tail.durable = Math.min(tail.durable, tail.entries.length);
  }

  #sendPulled(effect: Extract<ReplicaEffect<Op>, { kind: "sendPulled" }>): void {
    const { to, toInc, epoch: of, fromLsn, throughLsn } = effect;
    const { tail } = this;
    if (tail === undefined) throw new Error("no tail is kept");
    const start = fromLsn - tail.baseLsn - 1;
    const most = Math.min(start + 3, throughLsn - tail.baseLsn);
    const entries = tail.entries.slice(start, most);
    const prevHash = entries[0]?.prevHash ?? 0;
    const base = { epoch: of, fromInc: this.inc, toInc, tail: true };
    const message = {
      kind: "pulled",
      ...base,
      prevLsn: lsn(fromLsn - 1),
      prevHash,
      entries,
    } as const;
    if (to === this.state.me.node) {
      this.step({ kind: "message", from: to, message, nowMs: this.#world.nowMs });
    } else {
      this.#world.post({ from: this.name, to, message });
    }
  }
}
