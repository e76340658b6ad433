// The invariants of docs/simulation.md, checked while a run goes on and at its end. Entries are
// named by their chain hash, which covers all entries before: equal hashes mean equal prefixes.

import type { MemberId } from "../../../src/mail/ids.ts";
import type { ReplicaAlarm } from "../../../src/cluster/protocol/replica-types.ts";
import { entryAt, hashOf } from "./disk.ts";
import type { ShardImage, SimEntry } from "./disk.ts";
import type { NodeProcess, Shown } from "./node-process.ts";
import { InvariantViolation } from "./violation.ts";
import type { World } from "./world.ts";

interface ShardFacts {
  /** Committed content, by lsn: the first copy to apply it says what it is. */
  readonly committed: Map<number, number>;
  readonly lsnOf: Map<number, number>;
  /** The last acknowledged entry. */
  acked: Shown;
  /** Acknowledged operations: where they are. */
  readonly ackedOps: Map<number, Shown>;
  /** Committed up to here, each entry on enough disks at that time. */
  safeLsn: number;
}

export class Checker {
  readonly #world: World;
  readonly #shards: ShardFacts[] = [];
  acks = 0;
  reads = 0;
  slowestMs = 0;

  constructor(world: World, shards: number) {
    this.#world = world;
    for (let shard = 0; shard < shards; shard++) {
      this.#shards.push({
        committed: new Map(),
        lsnOf: new Map(),
        acked: { lsn: 0, hash: 0 },
        ackedOps: new Map(),
        safeLsn: 0,
      });
    }
  }

  /** I4 (in the form lsn → one content), I5, I6: a copy shows an entry. */
  applied(shard: number, node: string, entry: SimEntry, committed: boolean): void {
    const facts = this.#facts(shard);
    const { lsn, hash, op } = entry;
    const known = facts.committed.get(lsn);
    if (known !== undefined && known !== hash) {
      this.#fail("I6", `${node} applies other content at lsn ${lsn} of shard ${shard}`);
    }
    if (known !== undefined) return;
    this.#world.trace(
      () => `${node} shard ${shard} ${committed ? "commits" : "shows"} ${lsn} op ${op}`,
    );
    facts.committed.set(lsn, hash);
    if (op === 0) return;
    const other = facts.lsnOf.get(op);
    if (other !== undefined && other !== lsn) {
      this.#fail("I5", `operation ${op} of shard ${shard} is stored at ${other} and at ${lsn}`);
    }
    facts.lsnOf.set(op, lsn);
  }

  /** I10: a copy counts an entry as committed, for the first time anywhere. */
  committed(shard: number, entry: SimEntry): void {
    const facts = this.#facts(shard);
    if (entry.lsn <= facts.safeLsn) return;
    this.#onEnough(shard, entry);
    facts.safeLsn = entry.lsn;
  }

  #onEnough(shard: number, { lsn, hash, op }: SimEntry): void {
    let copies = 0;
    for (const { disk } of this.#world.nodes) {
      for (const folder of [disk.durable, ...disk.lost]) {
        if (holds(folder.get(shard), lsn, hash)) copies += 1;
      }
    }
    if (copies >= this.#world.plan.minCopies) return;
    this.#fail("I10", `operation ${op} of shard ${shard} (lsn ${lsn}) is committed on ${copies}`);
  }

  /** I1, I10: a node answers a write. */
  acking(process: NodeProcess, shard: number, op: number, lsn: number): number {
    const facts = this.#facts(shard);
    const entry = entryAt(process.log.image(shard).main, lsn);
    if (entry?.op !== op) {
      return this.#fail("I1", `${process.name} acknowledges operation ${op} without having it`);
    }
    this.#serving(process, shard);
    const { hash } = entry;
    if (lsn > facts.safeLsn) this.#onEnough(shard, entry);
    const known = facts.committed.get(lsn);
    if (known !== undefined && known !== hash) {
      this.#fail("I1", `operation ${op} of shard ${shard} is not what is committed at ${lsn}`);
    }
    return hash;
  }

  /** A client has its answer. */
  acked(shard: number, op: number, lsn: number, hash: number): void {
    this.acks += 1;
    const facts = this.#facts(shard);
    facts.ackedOps.set(op, { lsn, hash });
    if (lsn > facts.acked.lsn) facts.acked = { lsn, hash };
  }

  /** What a read that starts now must show. */
  acknowledged(shard: number): Shown {
    return this.#facts(shard).acked;
  }

  /** I2, I3: a node answers a read that started when `since` was the last thing acknowledged. */
  reading(process: NodeProcess, shard: number, shown: Shown, since: Shown): void {
    this.reads += 1;
    this.#serving(process, shard);
    const held = hashOf(process.log.image(shard).main, since.lsn);
    if (shown.lsn < since.lsn || held !== since.hash) {
      this.#fail(
        "I2",
        `${process.name} reads shard ${shard} up to ${shown.lsn} after ${since.lsn}`,
      );
    }
    const facts = this.#facts(shard);
    const known = facts.committed.get(shown.lsn);
    if (known !== undefined && known !== shown.hash) {
      this.#fail("I4", `${process.name} shows what is not committed at ${shown.lsn}`);
    }
    // What was shown once must stay.
    if (shown.lsn > 0) facts.committed.set(shown.lsn, shown.hash);
  }

  /** I3: nobody else would serve at this instant. */
  #serving(process: NodeProcess, shard: number): void {
    // A stopped virtual machine's clock stands: what it reads may be a lease old, as docs say.
    if (this.#world.plan.pauses) return;
    for (const other of this.#world.nodes) {
      const { process: others } = other;
      if (others === undefined || others === process || others.life.stopped) continue;
      if (others.shell(shard)?.serves === true) {
        this.#fail("I3", `${process.name} and ${other.name} both serve shard ${shard}`);
      }
    }
  }

  /** I13: a request of a run without faults. */
  request(shard: number, tookMs: number, answered: boolean): void {
    this.slowestMs = Math.max(this.slowestMs, tookMs);
    if (this.#world.plan.faultless && (!answered || tookMs > 5000)) {
      this.#fail(
        "I13",
        `a request to shard ${shard} took ${Math.round(tookMs)} ms without a fault`,
      );
    }
  }

  alarm(shard: number, node: string, why: ReplicaAlarm): void {
    if (why === "damaged" || why === "acknowledgedLost" || why === "tableBehind") {
      this.#fail("I6", `${node} says ${why} of shard ${shard}`);
    }
  }

  isServed(shard: number): boolean {
    const node = this.#world.coordinator.table.get(shard)?.primary.node;
    return node !== undefined && this.#world.nodeOf(node)?.process?.shell(shard)?.serves === true;
  }

  /** I9: full and served. */
  isWhole(shard: number): boolean {
    const config = this.#world.coordinator.table.get(shard);
    if (config === undefined || !this.isServed(shard)) return false;
    return config.secondaries.some(({ node, full }) => {
      const shell = this.#world.nodeOf(node)?.process?.shell(shard);
      return full && shell !== undefined && shell.state.config?.epoch === config.epoch;
    });
  }

  /** I1 and I6 at rest: every full member has every acknowledged entry and the same prefix. */
  atRest(shard: number): void {
    const config = this.#world.coordinator.table.get(shard);
    if (config === undefined) return;
    const facts = this.#facts(shard);
    const full = config.secondaries.filter((one) => one.full);
    for (const { node } of [config.primary, ...full]) this.#holdsAll(shard, node, facts);
  }

  #holdsAll(shard: number, node: MemberId, facts: ShardFacts): void {
    const main = this.#world.nodeOf(node)?.process?.log.image(shard).main;
    if (main === undefined) return;
    for (const [op, { lsn, hash }] of facts.ackedOps) {
      if (hashOf(main, lsn) !== hash) {
        this.#fail("I1", `operation ${op} of shard ${shard} (lsn ${lsn}) is not at ${node}`);
      }
    }
  }

  #facts(shard: number): ShardFacts {
    const facts = this.#shards[shard];
    if (facts === undefined) throw new RangeError(`there is no shard ${shard}`);
    return facts;
  }

  #fail(invariant: string, what: string): never {
    throw new InvariantViolation(invariant, what);
  }

  fail(invariant: string, what: string): never {
    return this.#fail(invariant, what);
  }
}

/** In the copy's own log or in its tail. */
function holds(image: ShardImage | undefined, lsn: number, hash: number): boolean {
  if (image === undefined) return false;
  const inTail = image.tail !== undefined && hashOf(image.tail, lsn) === hash;
  return inTail || hashOf(image.main, lsn) === hash;
}
