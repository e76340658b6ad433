// A small cluster of replica machines for tests: an in-memory log with an fsync that is a separate
// step, and a network that loses, repeats and reorders when told to. All chance comes from a seed.

import { epoch, lsn, memberId, shardId, storeId } from "../../../src/mail/ids.ts";
import type { Lsn, MemberId } from "../../../src/mail/ids.ts";
import { makeReplica, serves, stepReplica } from "../../../src/cluster/protocol/replica.ts";
import { defaultLimits } from "../../../src/cluster/protocol/replica-state.ts";
import type {
  ReplicaEffect,
  ReplicaEvent,
  ReplicaMessage,
  ReplicaState,
  WireEntry,
} from "../../../src/cluster/protocol/replica-types.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";

export type Op = string;
type Entry = WireEntry<Op> & { readonly mark: number };

export interface Packet {
  readonly from: string;
  readonly to: string;
  readonly message: ReplicaMessage<Op>;
}

export function config(
  epochNumber: number,
  members: readonly string[],
  minCopies = 2,
): ShardConfig {
  const copies = members.map((node) => ({ node: memberId(node), store: storeId(`store-${node}`) }));
  const [primary, ...secondaries] = copies;
  if (primary === undefined) throw new Error("a shard has a primary");
  const full = secondaries.map((copy) => ({ ...copy, full: true }));
  return {
    shard: shardId(0),
    epoch: epoch(epochNumber),
    primary,
    secondaries: full,
    minCopies,
    nonce: "n",
  };
}

/** mulberry32: small, fast and good enough to choose faults. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One member: machine, log, and what its disk keeps over a crash. */
export class Member {
  readonly name: string;
  log: Entry[] = [];
  durable = 0;
  config: ShardConfig | undefined;
  state: ReplicaState;
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
    return makeReplica(
      { node: memberId(this.name), store: storeId(`store-${this.name}`) },
      this.inc,
      {
        config: this.config,
        appliedLsn: lsn(applied),
        appliedHash: this.log[applied - 1]?.hash ?? 0,
        endEpoch: epoch(this.log.at(-1)?.epoch ?? 0),
        tail: this.log.slice(applied).map((entry) => entry.hash),
      },
      defaultLimits,
    );
  }

  /** Loses what was not synced, then starts again and reads the table. */
  crash(): void {
    this.log = this.log.slice(0, this.durable);
    this.state = this.#recover();
  }

  sync(): void {
    this.durable = this.log.length;
    const last = this.log.at(-1);
    if (last !== undefined) this.step({ kind: "durable", lsn: last.lsn, hash: last.hash });
  }

  step(event: ReplicaEvent<Op>): void {
    const out: ReplicaEffect<Op>[] = [];
    stepReplica(this.state, event, out);
    for (const effect of out) this.#perform(effect);
  }

  propose(ref: Op, bytes = 100): void {
    this.#proposing = bytes;
    this.step({ kind: "propose", ref, bytes });
  }

  get serves(): boolean {
    return serves(this.state);
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
        if (effect.entry.lsn !== this.log.length + 1) throw new Error("appended out of order");
        this.log.push({ ...effect.entry, mark: this.#world.markOf(effect.entry.hash) });
        return;
      case "cut":
        if (effect.afterLsn < this.committed) throw new Error("cut below the commit mark");
        this.log.length = effect.afterLsn;
        this.durable = Math.min(this.durable, effect.afterLsn);
        this.#world.cuts += 1;
        return;
      case "persistConfig":
        this.config = effect.config;
        this.step({ kind: "configDurable", epoch: effect.config.epoch });
        return;
      case "commit":
        this.#commit(effect.fromLsn, effect.throughLsn);
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
      this.applied.push(at);
    }
    this.committed = through;
    this.step({ kind: "applied", lsn: lsn(through) });
  }

  #ship(effect: Extract<ReplicaEffect<Op>, { kind: "ship" | "feed" }>): void {
    const { to, toInc, fromLsn, epoch: of, mark } = effect;
    // A feed reads at most three entries, so that catching up takes several rounds.
    const most = effect.kind === "feed" ? fromLsn + 2 : effect.throughLsn;
    const entries = this.log.slice(fromLsn - 1, Math.min(most, effect.throughLsn));
    const prevHash = entries[0]?.prevHash ?? 0;
    const prevLsn = lsn(fromLsn - 1);
    const base = { epoch: of, fromInc: this.inc, toInc, prevLsn, prevHash, mark };
    this.#world.post({ from: this.name, to, message: { kind: "append", ...base, entries } });
    if (effect.kind === "ship") return;
    const throughLsn = lsn(fromLsn + entries.length - 1);
    this.step({ kind: "fed", to, toInc, throughLsn, nowMs: this.#world.nowMs });
  }
}

export class World {
  readonly members: Member[];
  packets: Packet[] = [];
  nowMs = 0;
  cuts = 0;
  /** What any member committed, by lsn. */
  readonly truth = new Map<number, number>();
  readonly acknowledged: { lsn: number; hash: number }[] = [];
  config: ShardConfig;
  readonly #marks = new Map<number, number>();
  #counter = 0;
  readonly #down = new Set<string>();

  constructor(names: readonly string[]) {
    this.config = config(1, names);
    this.members = names.map((name) => new Member(name, this));
  }

  member(name: string): Member {
    const member = this.members.find((one) => one.name === name);
    if (member === undefined) throw new Error(`no member ${name}`);
    return member;
  }

  get primary(): Member {
    return this.member(this.config.primary.node);
  }

  /** Never repeats, also for equal operations: two lives of a primary write different entries. */
  hashOf(prevHash: number, ref: Op): number {
    this.#counter += 1;
    let hash = (prevHash * 31 + this.#counter) % 2 ** 45;
    for (const char of ref) hash = (hash * 33 + char.charCodeAt(0)) % 2 ** 45;
    this.#marks.set(hash, this.primary.state.commitLsn);
    return hash;
  }

  markOf(hash: number): number {
    return this.#marks.get(hash) ?? 0;
  }

  post(packet: Packet): void {
    if (!this.#down.has(linkOf(packet.from, packet.to))) this.packets.push(packet);
  }

  onCommit(member: Member, entry: Entry): void {
    const known = this.truth.get(entry.lsn);
    if (known !== undefined && known !== entry.hash) throw new Error(`two truths at ${entry.lsn}`);
    this.truth.set(entry.lsn, entry.hash);
    if (member !== this.primary) return;
    this.acknowledged.push({ lsn: entry.lsn, hash: entry.hash });
    for (const other of this.members) {
      const copy = other.log[entry.lsn - 1];
      if (copy?.hash !== entry.hash || other.durable < entry.lsn) {
        throw new Error(`acknowledged ${entry.lsn} without ${other.name}'s disk`);
      }
    }
  }

  start(): void {
    for (const member of this.members) this.join(member);
    for (const a of this.members) for (const b of this.members) if (a !== b) this.connect(a, b);
  }

  join(member: Member): void {
    member.step({ kind: "config", config: this.config, nowMs: this.nowMs });
  }

  connect(a: Member, b: Member): void {
    this.#down.delete(linkOf(a.name, b.name));
    a.step({ kind: "peerUp", node: memberId(b.name), nowMs: this.nowMs });
  }

  disconnect(a: Member, b: Member): void {
    this.#down.add(linkOf(a.name, b.name));
    this.packets = this.packets.filter((packet) => {
      return linkOf(packet.from, packet.to) !== linkOf(a.name, b.name);
    });
    a.step({ kind: "peerDown", node: memberId(b.name) });
    b.step({ kind: "peerDown", node: memberId(a.name) });
  }

  restart(member: Member, readTable = true): void {
    for (const other of this.members) {
      if (other !== member) other.step({ kind: "peerDown", node: memberId(member.name) });
    }
    member.crash();
    if (readTable) this.join(member);
    for (const other of this.members) {
      if (other === member) continue;
      other.step({ kind: "peerUp", node: memberId(member.name), nowMs: this.nowMs });
      member.step({ kind: "peerUp", node: memberId(other.name), nowMs: this.nowMs });
    }
  }

  propose(ref: Op): void {
    this.primary.propose(ref);
  }

  deliver(packet: Packet): void {
    const { message } = packet;
    const member = this.member(packet.to);
    const checked =
      message.kind === "append"
        ? {
            ...message,
            entries: message.entries.map((entry) => ({
              ...entry,
              missing: missingBlobs(entry.ref, member.blobs),
            })),
          }
        : message;
    const from = memberId(packet.from);
    member.step({ kind: "message", from, message: checked, nowMs: this.nowMs });
  }

  /** Time passes, everything in flight arrives, everything is synced; until nothing moves. */
  settle(rounds = 40): void {
    for (let round = 0; round < rounds; round += 1) {
      this.nowMs += 300;
      for (const member of this.members) {
        member.step({ kind: "tick", nowMs: this.nowMs });
        this.pass();
      }
    }
  }

  /** One exchange without time passing. */
  pass(): void {
    for (let i = 0; i < 6; i += 1) {
      for (const member of this.members) {
        member.sync();
        member.step({ kind: "flush", nowMs: this.nowMs });
      }
      const batch = this.packets;
      this.packets = [];
      for (const packet of batch) this.deliver(packet);
    }
  }
}

function missingBlobs(ref: Op, blobs: ReadonlySet<string>): readonly string[] {
  return ref.startsWith("blob:") && !blobs.has(ref) ? [ref] : [];
}

function linkOf(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}

export function node(name: string): MemberId {
  return memberId(name);
}

export function at(value: number): Lsn {
  return lsn(value);
}
