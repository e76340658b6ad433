// A small cluster of replica machines for tests: a network that loses, repeats and reorders when told
// to, and a table. All chance comes from a seed. Members are in replica-member.ts.

import { epoch, lsn, memberId, shardId } from "../../../src/mail/ids.ts";
import type { Lsn, MemberId } from "../../../src/mail/ids.ts";
import { defaultLimits } from "../../../src/cluster/protocol/replica-state.ts";
import type { Limits } from "../../../src/cluster/protocol/replica-state.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { copyOf, Member } from "./replica-member.ts";
import type { Entry, Op, Packet } from "./replica-member.ts";

export function config(
  epochNumber: number,
  members: readonly string[],
  minCopies = 2,
): ShardConfig {
  const copies = members.map(copyOf);
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

export class World {
  readonly members: Member[];
  packets: Packet[] = [];
  /** What gets through. */
  filter: (packet: Packet) => boolean = () => true;
  nowMs = 0;
  cuts = 0;
  saves = 0;
  readonly limits: Limits;
  /** What any member committed, by lsn. */
  readonly truth = new Map<number, number>();
  readonly acknowledged: { lsn: number; hash: number }[] = [];
  config: ShardConfig;
  readonly #marks = new Map<number, number>();
  #counter = 0;
  readonly #down = new Set<string>();

  constructor(names: readonly string[], limits: Partial<Limits> = { graceMs: 0 }) {
    this.limits = { ...defaultLimits, ...limits };
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
    if (this.#down.has(linkOf(packet.from, packet.to)) || !this.filter(packet)) return;
    this.packets.push(packet);
  }

  onCommit(member: Member, entry: Entry): void {
    const known = this.truth.get(entry.lsn);
    if (known !== undefined && known !== entry.hash) throw new Error(`two truths at ${entry.lsn}`);
    this.truth.set(entry.lsn, entry.hash);
    if (member !== this.primary) return;
    this.acknowledged.push({ lsn: entry.lsn, hash: entry.hash });
    for (const { node, full, fromLsn = 0 } of [
      { ...this.config.primary, full: true },
      ...this.config.secondaries,
    ]) {
      const other = this.member(node);
      if (other.holds(entry) || (!full && entry.lsn < fromLsn)) continue;
      throw new Error(`acknowledged ${entry.lsn} without ${other.name}'s disk`);
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
      message.kind === "append" || message.kind === "pulled"
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
        member.tick();
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
