// One life of a simulated mail node: a replica shell for each shard over one log, links and the
// pulse. Answers clients, managers and the other nodes, in the order in which the real node does.

import { lsn as makeLsn } from "../../../src/mail/ids.ts";
import type { Epoch, MemberId } from "../../../src/mail/ids.ts";
import type {
  Position,
  SealAnswer,
  ShardReport,
} from "../../../src/cluster/protocol/manager-types.ts";
import { makeReplica, serves } from "../../../src/cluster/protocol/replica.ts";
import { positionOf, sealAnswerOf } from "../../../src/cluster/protocol/replica-report.ts";
import { defaultLimits } from "../../../src/cluster/protocol/replica-state.ts";
import type { ReplicaAlarm, ReplicaMessage } from "../../../src/cluster/protocol/replica-types.ts";
import { roleOf } from "../../../src/cluster/protocol/shard-config.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import type { GraftOrder, ManagedNode } from "./cluster.ts";
import { copyShard, recover } from "./copy.ts";
import { SimLog, endOf, hashOf } from "./disk.ts";
import type { Disk } from "./disk.ts";
import { bendState } from "./lies.ts";
import type { Life } from "./life.ts";
import type { SimNode } from "./node.ts";
import { SimShell } from "./node-shell.ts";
import type { Op, Waiter } from "./requests.ts";
import type { Station } from "./network.ts";
import { SimPulse } from "./pulse.ts";
import type { World } from "./world.ts";

const tickMs = 50;
const reportMs = 200;

/** What a read shows: where the served log ends, by position and content. */
export interface Shown {
  readonly lsn: number;
  readonly hash: number;
}

export class NodeProcess implements ManagedNode {
  readonly machine: SimNode;
  readonly life: Life;
  readonly world: World;
  readonly log: SimLog;
  readonly pulse: SimPulse;
  readonly #shells = new Map<number, SimShell>();
  readonly #up = new Set<MemberId>();
  readonly #dirty = new Set<SimShell>();
  readonly #blobs = new Set<string>();
  /** What the watch said before the first read of the table was answered. */
  readonly #early: ShardConfig[] = [];
  #flushDue = false;
  #tableRead = false;
  #reading = false;
  #reportDue = false;

  constructor(machine: SimNode, life: Life) {
    this.machine = machine;
    this.life = life;
    this.world = machine.world;
    this.log = new SimLog(machine.disk, life, this.world.draws);
    this.pulse = new SimPulse(this.world, machine, life, () => undefined);
  }

  get nowMs(): number {
    return this.life.nowMs;
  }

  get name(): string {
    return this.machine.name;
  }

  get disk(): Disk {
    return this.machine.disk;
  }

  shells(): Iterable<SimShell> {
    return this.#shells.values();
  }

  shell(shard: number): SimShell | undefined {
    return this.#shells.get(shard);
  }

  /** Recovery, then the table by a linearizable read; nothing is served before it. */
  open(): void {
    const { world, life } = this;
    for (const shard of this.log.shards()) this.#addShell(shard);
    const { index, copy } = this.machine;
    const { node, store } = copy;
    const { incarnation } = life;
    world.coordinator.register({ index, node, store, incarnation });
    world.coordinator.watch(life, (config) => {
      if (this.#tableRead) this.takeConfig(config);
      else this.#early.push(config);
    });
    this.refreshTable();
    life.main.every(tickMs, () => {
      for (const shell of this.#shells.values()) shell.tick(this.machine.logWindow);
      if (!this.#tableRead) this.refreshTable();
    });
    life.main.every(reportMs, () => this.#report());
  }

  linkChanged(to: Station, up: boolean): void {
    const peer = this.world.nodeAt(to.index);
    if (peer === undefined) return;
    const node = peer.member;
    if (up) this.#up.add(node);
    else this.#up.delete(node);
    for (const shell of this.#shells.values()) this.#tellLink(shell, node, up);
  }

  #tellLink(shell: SimShell, node: MemberId, up: boolean): void {
    if (up) shell.step({ kind: "peerUp", node, nowMs: this.nowMs });
    else shell.step({ kind: "peerDown", node });
  }

  #addShell(shard: number): SimShell {
    const recovered = recover(this.log.image(shard), this.world.broken === "replayToMark");
    const { copy } = this.machine;
    const state = makeReplica(copy, this.life.incarnation, recovered, defaultLimits, this.nowMs);
    const shell = new SimShell(shard, state, this);
    if (this.world.broken !== undefined) this.bend(shell);
    this.#shells.set(shard, shell);
    for (const node of this.#up) this.#tellLink(shell, node, true);
    return shell;
  }

  /** A value of the table, from the read, the watch, or a manager's hint. */
  takeConfig(config: ShardConfig): void {
    if (!this.#tableRead) return;
    const given = this.world.broken === "minCopies" ? { ...config, minCopies: 1 } : config;
    let shell = this.#shells.get(config.shard);
    if (shell === undefined) {
      if (roleOf(config, this.machine.copy) === "none") return;
      shell = this.#addShell(config.shard);
    }
    shell.config(given);
    this.#syncPulse(shell);
  }

  refreshTable(): void {
    if (this.#reading) return;
    this.#reading = true;
    const again = () => {
      this.#reading = false;
    };
    this.world.coordinator.read(this.life, (table) => {
      this.#tableRead = true;
      again();
      for (const config of [...table, ...this.#early.splice(0)]) this.takeConfig(config);
    });
    this.life.main.after(300, again);
  }

  /** A flush of this shell is due at the end of the present event. */
  dirty(shell: SimShell): void {
    this.#dirty.add(shell);
    if (this.#flushDue) return;
    this.#flushDue = true;
    this.life.main.after(0, () => {
      this.#flushDue = false;
      const dirty = [...this.#dirty];
      this.#dirty.clear();
      for (const one of dirty) {
        this.#syncPulse(one);
        one.flush();
      }
    });
  }

  /** The pulse learns what this copy grants and holds now. */
  #syncPulse(shell: SimShell): void {
    shell.syncPulse();
  }

  judge(shell: SimShell): boolean {
    return serves(shell.state, this.nowMs, shell.leaseStartMs);
  }

  leaseStartMs(shell: SimShell, node: MemberId): number {
    const { broken } = this.world;
    if (broken === "lease") return this.nowMs;
    if (broken === "leaseOfSyncing") {
      const copy = shell.state.config?.secondaries.find((one) => one.node === node);
      if (copy?.full === false) return this.nowMs;
    }
    return this.pulse.leaseStartMs(shell.shard, node);
  }

  revoke(shard: number, epoch: Epoch, done: (lastGrantedMs: number) => void): void {
    this.pulse.revoke(shard, epoch, done);
  }

  /** Breaks a rule in what the machine remembers. */
  bend(shell: SimShell): void {
    bendState(shell.state, this.world.broken);
    if (this.world.broken === "commitOnAll") shell.answerLocal();
  }

  // Calls of clients.

  write(shard: number, waiter: Waiter): boolean {
    return this.#shells.get(shard)?.write(waiter) === true;
  }

  read(shard: number): Shown | undefined {
    const shell = this.#shells.get(shard);
    if (shell?.serves !== true) return undefined;
    const { main } = shell.image;
    const lsn = this.world.broken === "committedOnly" ? endOf(main) : shell.state.appliedLsn;
    const hash = hashOf(main, lsn) ?? 0;
    return { lsn, hash };
  }

  // Calls of managers.

  seal(shard: number, epoch: Epoch, evenIfHeard: boolean, answer: (a: SealAnswer) => void): void {
    const shell = this.#shells.get(shard);
    if (shell === undefined) {
      answer({ kind: "unusable" });
      return;
    }
    const primary = shell.state.config?.primary.node;
    const heardMs =
      primary !== undefined && this.#up.has(primary) ? this.pulse.heardMs(primary) : -Infinity;
    const event = { kind: "seal", epoch, evenIfHeard, heardMs, nowMs: this.nowMs } as const;
    shell.call("seal", event, (effect) => {
      if (effect.kind === "sealed") answer(sealAnswerOf(shell.state));
      else if (effect.kind !== "sealRefused") return;
      else if (effect.why === "newer" && shell.state.config !== undefined) {
        answer({ kind: "newer", config: shell.state.config });
      } else answer({ kind: effect.why === "heard" ? "heard" : "unusable" });
    });
  }

  handOver(shard: number, epoch: Epoch, answer: (at: Position | undefined) => void): void {
    const shell = this.#shells.get(shard);
    if (shell === undefined) {
      answer(undefined);
      return;
    }
    shell.call("handOver", { kind: "handOver", epoch, nowMs: this.nowMs }, (effect) => {
      answer(effect.kind === "handedOver" ? positionOf(shell.state) : undefined);
    });
  }

  ask(shard: number, epoch: Epoch): Position | undefined {
    const state = this.#shells.get(shard)?.state;
    if (state?.role !== "primary" || !state.active || state.config?.epoch !== epoch) {
      return undefined;
    }
    return positionOf(state);
  }

  graft(shard: number, at: GraftOrder, answer: (at: Position | undefined) => void): void {
    const shell = this.#shells.get(shard);
    if (shell === undefined) {
      answer(undefined);
      return;
    }
    const { epoch, from, throughHash } = at;
    const throughLsn = makeLsn(at.throughLsn);
    const event = {
      kind: "graft",
      epoch,
      from: from.node,
      throughLsn,
      throughHash,
      nowMs: this.nowMs,
    } as const;
    shell.call("graft", event, (effect) => {
      answer(effect.kind === "grafted" && effect.ok ? positionOf(shell.state) : undefined);
    });
  }

  isLinked(node: MemberId): boolean {
    return this.#up.has(node);
  }

  get linked(): readonly MemberId[] {
    return [...this.#up];
  }

  // What shells want done.

  sendReplica(to: MemberId, shard: number, message: ReplicaMessage<Op>): void {
    const peer = this.world.nodeOf(to);
    const deliver = () => {
      const shell = peer?.process?.shell(shard);
      if (shell === undefined) peer?.process?.refreshTable();
      else shell.receive(this.machine.member, message);
    };
    if (peer === this.machine) this.life.main.after(0.05, deliver);
    else if (peer !== undefined) this.world.network.send(this.machine, peer, deliver);
  }

  reportSoon(): void {
    if (this.#reportDue) return;
    this.#reportDue = true;
    this.life.main.after(0, () => this.#report());
  }

  #report(): void {
    this.#reportDue = false;
    const reports: ShardReport[] = [];
    for (const { state } of this.#shells.values()) {
      if (state.wish !== undefined) reports.push(state.wish);
    }
    if (this.world.broken === "syncedIsComplete") this.#callSynced(reports);
    if (reports.length === 0) return;
    const from = this.machine.copy;
    const { linked } = this;
    for (const gateway of this.world.gateways) {
      this.world.network.send(this.machine, gateway, () => {
        gateway.process?.report(from, { linked, reports });
      });
    }
  }

  /** With the rule broken that only a complete copy is called so. */
  #callSynced(reports: ShardReport[]): void {
    for (const { state } of this.#shells.values()) {
      const secondary = state.config?.secondaries.find((one) => !one.full);
      if (state.role !== "primary" || state.config === undefined || secondary === undefined)
        continue;
      const { shard, epoch } = state.config;
      reports.push({ kind: "synced", shard, epoch, secondary });
    }
  }

  sendBlobs(to: MemberId, blobs: readonly string[], done: () => void): void {
    const peer = this.world.nodeOf(to);
    if (peer === undefined) return;
    this.life.main.after(this.world.draws.between(1, 20), () => {
      for (const blob of blobs) peer.process?.takeBlob(blob);
      done();
    });
  }

  takeBlob(blob: string): void {
    this.#blobs.add(blob);
  }

  /** Every 16th operation has a body of its own, which may not be here yet. */
  missing(op: Op): readonly string[] {
    const blob = String(op);
    return op !== 0 && op % 16 === 0 && !this.#blobs.has(blob) ? [blob] : [];
  }

  /** Entries up to here can't be fed from the log any more. */
  prunedTo(shell: SimShell): number {
    return Math.max(shell.image.copiedTo, shell.window.prunedLsn);
  }

  copyFrom(shell: SimShell, from: MemberId): void {
    copyShard(this, shell, from);
  }

  alarm(shell: SimShell, why: ReplicaAlarm): void {
    this.world.trace(() => `${this.name} shard ${shell.shard} alarm ${why}`);
    this.world.checker.alarm(shell.shard, this.name, why);
  }
}
