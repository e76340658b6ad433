// Runs the replica machine of one shard in the simulator: the same order of effects as
// src/cluster/node/replica-shell.ts, on the simulated log, network and heartbeats.

import { lsn as makeLsn } from "../../../src/mail/ids.ts";
import type { Epoch, Lsn, MemberId } from "../../../src/mail/ids.ts";
import { assert, unreachable } from "../../../src/lib/assert.ts";
import { stepReplica } from "../../../src/cluster/protocol/replica.ts";
import type { ReplicaState } from "../../../src/cluster/protocol/replica-state.ts";
import type {
  ReplicaEffect,
  ReplicaEvent,
  ReplicaMessage,
  WireEntry,
} from "../../../src/cluster/protocol/replica-types.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { chain, endOf, entryAt } from "./disk.ts";
import type { Run, ShardImage, SimEntry } from "./disk.ts";
import { overlook, pretend } from "./lies.ts";
import type { NodeProcess } from "./node-process.ts";
import { describeStep, entriesOf, LogWindow, Promises, Unsynced } from "./promises.ts";
import { Requests } from "./requests.ts";
import type { Op, Waiter } from "./requests.ts";

type Effect = ReplicaEffect<Op>;
type EffectOf<K extends Effect["kind"]> = Extract<Effect, { kind: K }>;

const feedEntriesMax = 16;

export class SimShell {
  readonly shard: number;
  readonly state: ReplicaState;
  readonly #node: NodeProcess;
  readonly #requests = new Requests();
  readonly #unsynced = new Unsynced();
  #proposed = 0;
  readonly #promises = new Promises();
  readonly window = new LogWindow();
  #feedsWaiting: EffectOf<"feed">[] = [];
  #calls: {
    readonly kind: "seal" | "handOver" | "graft";
    readonly done: (effect: Effect) => void;
  }[] = [];

  constructor(shard: number, state: ReplicaState, node: NodeProcess) {
    this.shard = shard;
    this.state = state;
    this.#node = node;
    this.learn();
  }

  get image(): ShardImage {
    return this.#node.log.image(this.shard);
  }

  get serves(): boolean {
    return this.#node.judge(this);
  }

  step(event: ReplicaEvent<Op>): void {
    const { broken } = this.#node.world;
    const effects: Effect[] = [];
    stepReplica(this.state, event, effects);
    this.#node.world.detail(() => describeStep(this.#node.name, this.shard, event, effects));
    if (broken !== undefined) this.#node.bend(this);
    for (const effect of effects) this.#perform(effect);
    if (event.kind !== "flush") this.#node.dirty(this);
  }

  config(config: ShardConfig): void {
    const before = this.state.role;
    const epochBefore = this.state.config?.epoch;
    this.step({ kind: "config", config, nowMs: this.#node.nowMs });
    const { role } = this.state;
    if (before === "primary" && role !== "primary")
      this.#requests.giveUp(0, Number.MAX_SAFE_INTEGER);
    if (epochBefore !== this.state.config?.epoch) this.#node.world.point(this.#node.machine);
    // The engine forgets what it evaluated and did not see applied.
    if (before !== role || epochBefore !== this.state.config?.epoch) this.learn();
  }

  /** @returns false when this copy can't take the change. */
  write(waiter: Waiter): boolean {
    if (!this.serves) return false;
    const known =
      this.#node.world.broken === "dedupe" ? undefined : this.#requests.known.get(waiter.op);
    if (known !== undefined) {
      if (known <= this.state.commitLsn) waiter.answer("ok", makeLsn(known));
      else this.#requests.wait(known, waiter);
      return true;
    }
    this.#proposed = 0;
    const { leaseStartMs } = this;
    const { nowMs } = this.#node;
    this.step({ kind: "propose", ref: waiter.op, bytes: 100, nowMs, leaseStartMs });
    if (this.#proposed === 0) return false;
    this.#requests.wait(this.#proposed, waiter);
    return true;
  }

  readonly leaseStartMs = (node: MemberId): number => this.#node.leaseStartMs(this, node);

  call(
    kind: "seal" | "handOver" | "graft",
    event: ReplicaEvent<Op>,
    done: (e: Effect) => void,
  ): void {
    this.#calls.push({ kind, done });
    this.step(event);
  }

  tick(logWindow: number): void {
    const { nowMs } = this.#node;
    this.window.note(nowMs, this.state.appliedLsn, logWindow);
    const { pulse } = this.#node;
    const heardMs = pulse.lastGrantedMs(this.shard);
    // Whatever rule is broken: who is to be removed goes by the true leases.
    const leaseStartMs = (node: MemberId) => pulse.leaseStartMs(this.shard, node);
    this.step({ kind: "tick", nowMs, leaseStartMs, heardMs });
  }

  receive(from: MemberId, message: ReplicaMessage<Op>): void {
    const taken =
      message.kind === "append" || message.kind === "pulled"
        ? { ...message, entries: message.entries.map((entry) => this.#check(entry)) }
        : message;
    const seen = this.#node.world.broken === "cutOfTail" ? overlook(this.image.main, taken) : taken;
    this.step({ kind: "message", from, message: seen, nowMs: this.#node.nowMs });
  }

  /** The receiver looks whether it has the bodies. */
  #check(entry: WireEntry<Op>): WireEntry<Op> {
    const missing = this.#node.missing(entry.ref);
    return missing.length === 0 ? entry : { ...entry, missing };
  }

  flush(): void {
    this.step({ kind: "flush", nowMs: this.#node.nowMs });
  }

  /** Tells the pulse what this copy grants and holds, when it has changed. */
  syncPulse(): void {
    this.#promises.tell(this.shard, this.state, this.#node);
  }

  learn(): void {
    this.#requests.learn(this.image.main);
  }

  #perform(effect: Effect): void {
    const node = this.#node;
    switch (effect.kind) {
      case "append":
        return this.#append(effect);
      case "appendRaw":
        return this.#appendRaw(effect);
      case "commit":
        return this.#commit(effect.fromLsn, effect.throughLsn);
      case "show":
        return this.#apply(effect.throughLsn, false);
      case "ship":
        return this.#ship(effect);
      case "feed":
        return this.#feed(effect);
      case "send":
        return this.#send(effect.to, effect.message);
      case "sendPulled":
        return this.#sendPulled(effect);
      case "saveCut":
        return node.life.main.after(node.world.draws.skewed(0.1, 5), () =>
          this.step({ ...effect, kind: "cutSaved" }),
        );
      case "cut":
        return this.#cut(effect);
      case "persistConfig":
        return this.#persistConfig(effect.config);
      case "persistSeal":
        return this.#persistSeal(effect.epoch);
      case "startTail":
        return this.#setTail({ baseLsn: effect.afterLsn, baseHash: effect.afterHash, entries: [] });
      case "dropTail":
        return this.#setTail(undefined);
      case "sendBlobs":
        return this.#sendBlobs(effect);
      case "refuse":
        return;
      case "expire":
        return this.#requests.giveUp(0, effect.throughLsn);
      case "revoke":
        return this.#revoke(effect.epoch);
      case "sealed":
      case "sealRefused":
        return this.#answer("seal", effect);
      case "handedOver":
      case "handOverRefused":
        return this.#answer("handOver", effect);
      case "grafted":
        return this.#answer("graft", effect);
      case "report":
        return node.reportSoon();
      case "copy":
        return node.copyFrom(this, effect.from);
      case "refreshTable":
        return node.refreshTable();
      case "alarm":
        return node.alarm(this, effect.why);
      default:
        return unreachable(effect);
    }
  }

  #setTail(tail: Run | undefined): void {
    this.#unsynced.cut(true, 0);
    this.#node.log.note(this.shard, (image) => {
      image.tail = tail && { ...tail, entries: [] };
    });
  }

  #append(effect: EffectOf<"append">): void {
    const { lsn, epoch, prevHash, mark } = effect;
    const op = effect.ref ?? 0;
    const entry = { lsn, epoch, hash: chain(prevHash, lsn, epoch, op), prevHash, op };
    assert(lsn === endOf(this.image.main) + 1, "machine and log agree on the next lsn");
    this.#log(entry, false, mark);
    this.#proposed = lsn;
    if (op !== 0) this.#requests.known.set(op, lsn);
    this.step({ kind: "logged", lsn, hash: entry.hash, bytes: 100, nowMs: this.#node.nowMs });
  }

  #appendRaw({ tail, entry }: EffectOf<"appendRaw">): void {
    const { lsn, epoch, hash, prevHash, ref } = entry;
    this.#log({ lsn, epoch, hash, prevHash, op: ref }, tail, this.state.commitLsn);
    if (!tail && ref !== 0) this.#requests.known.set(ref, lsn);
  }

  #log(entry: SimEntry, tail: boolean, mark: number): void {
    const { lsn, hash } = entry;
    const write = (image: ShardImage) => {
      const run = tail ? image.tail : image.main;
      assert(run !== undefined, "a tail is begun before it is written to");
      assert(endOf(run) + 1 === lsn, "entries enter the log in order");
      run.entries.push(entry);
      if (!tail && mark > image.mark) image.mark = mark;
    };
    const unsynced = this.#unsynced.add(tail, lsn);
    const durable = () => {
      // What was cut meanwhile may have come again; only the later one's fsync counts.
      if (this.#unsynced.done(unsynced)) this.step({ kind: "durable", tail, lsn, hash });
      for (const feed of this.#feedsWaiting.splice(0)) this.#feed(feed);
    };
    this.#node.log.write(this.shard, write, durable);
    if (this.#node.world.broken === "fsyncBeforeAck") {
      this.#node.life.main.after(0, () => this.step({ kind: "durable", tail, lsn, hash }));
    }
  }

  #apply(through: Lsn, committed: boolean): void {
    const { main } = this.image;
    const node = this.#node;
    for (let lsn = this.state.appliedLsn + 1; lsn <= through; lsn++) {
      const entry = entryAt(main, lsn);
      assert(entry !== undefined, "what is committed lies in the log");
      node.world.checker.applied(this.shard, node.name, entry, committed);
    }
    this.step({ kind: "applied", lsn: through });
  }

  #commit(from: Lsn, through: Lsn): void {
    const node = this.#node;
    for (let lsn: number = from; lsn <= through; lsn++) {
      const entry = entryAt(this.image.main, lsn);
      if (entry !== undefined) node.world.checker.committed(this.shard, entry);
    }
    node.log.note(this.shard, (on) => {
      if (through > on.mark) on.mark = through;
    });
    this.#apply(through, true);
    const ready = this.#requests.take(0, through);
    if (ready.length === 0) return;
    // Checked again after the fsync: without leases another may serve by now.
    const outcome = this.serves ? "ok" : "unknown";
    for (const { lsn, waiter } of ready) waiter.answer(outcome, makeLsn(lsn));
  }

  /** With `commitOnAll` broken: whoever waits for what is on this disk. */
  answerLocal(): void {
    const { durableLsn } = this.state;
    for (const { lsn, waiter } of this.#requests.take(0, durableLsn))
      waiter.answer("ok", makeLsn(lsn));
  }

  #ship(effect: EffectOf<"ship">): void {
    const { to, toInc, tail, epoch, fromLsn, throughLsn, prevHash, mark } = effect;
    const prevLsn = makeLsn(fromLsn - 1);
    const entries = entriesOf(this.image.main, fromLsn, throughLsn);
    const base = { epoch, fromInc: this.state.inc, toInc, tail };
    this.#send(to, { kind: "append", ...base, prevLsn, prevHash, mark, entries });
  }

  /** Reads from the log take their time, and only see what is on the disk. */
  #feed(effect: EffectOf<"feed">): void {
    const node = this.#node;
    const { to, toInc, tail, epoch, fromLsn, throughLsn, mark } = effect;
    node.life.main.after(node.world.draws.skewed(0.05, 3), () => {
      if (fromLsn <= node.prunedTo(this)) {
        this.step({ kind: "feedGone", to, toInc, tail });
        return;
      }
      const onDisk = endOf(node.disk.image(this.shard).main);
      const last = Math.min(
        throughLsn,
        onDisk,
        fromLsn + feedEntriesMax - 1,
        endOf(this.image.main),
      );
      const entries = entriesOf(this.image.main, fromLsn, last);
      const first = entries[0];
      if (first === undefined) {
        if (throughLsn <= endOf(this.image.main)) this.#feedsWaiting.push(effect);
        else this.step({ kind: "fed", to, toInc, tail, throughLsn: makeLsn(0), nowMs: node.nowMs });
        return;
      }
      if (this.state.config?.epoch === epoch) {
        const base = { epoch, fromInc: this.state.inc, toInc, tail };
        const at = { prevLsn: makeLsn(fromLsn - 1), prevHash: first.prevHash, mark };
        this.#send(to, { kind: "append", ...base, ...at, entries });
      }
      this.step({ kind: "fed", to, toInc, tail, throughLsn: makeLsn(last), nowMs: node.nowMs });
    });
  }

  #sendPulled({ to, toInc, epoch, fromLsn, throughLsn }: EffectOf<"sendPulled">): void {
    const run = this.image.tail;
    const last = Math.min(throughLsn, fromLsn + feedEntriesMax - 1);
    const entries = run === undefined ? [] : entriesOf(run, fromLsn, last);
    const prevLsn = makeLsn(fromLsn - 1);
    const prevHash = entries[0]?.prevHash ?? 0;
    const base = { epoch, fromInc: this.state.inc, toInc, tail: true };
    this.#send(to, { kind: "pulled", ...base, prevLsn, prevHash, entries });
  }

  #send(to: MemberId, message: ReplicaMessage<Op>): void {
    const { world } = this.#node;
    const theirs = world.nodeOf(to)?.process?.log.image(this.shard).main;
    const said = world.broken === "cutOfTail" ? pretend(theirs, message) : message;
    this.#node.sendReplica(to, this.shard, said);
  }

  #sendBlobs({ to, toInc, tail, blobs }: EffectOf<"sendBlobs">): void {
    const node = this.#node;
    node.sendBlobs(to, blobs, () => {
      this.step({ kind: "blobsSent", to, toInc, tail, nowMs: node.nowMs });
    });
  }

  #cut({ tail, afterLsn }: EffectOf<"cut">): void {
    this.#unsynced.cut(tail, afterLsn);
    this.#node.log.note(this.shard, (image) => {
      const run = tail ? image.tail : image.main;
      if (run !== undefined)
        run.entries.length = Math.min(run.entries.length, afterLsn - run.baseLsn);
    });
    if (tail) return;
    this.learn();
    this.#requests.giveUp(afterLsn + 1, Number.MAX_SAFE_INTEGER);
  }

  #persistConfig(config: ShardConfig): void {
    const write = (image: ShardImage) => {
      image.config = config;
    };
    // Nobody waits for it, but it is on its way to the disk at once.
    this.#node.log.write(this.shard, write, () => undefined);
  }

  #persistSeal(epoch: Epoch): void {
    const node = this.#node;
    const { world, life, log } = node;
    const durable = () => this.step({ kind: "sealDurable", epoch, nowMs: node.nowMs });
    const write = (image: ShardImage) => {
      image.sealedEpoch = Math.max(image.sealedEpoch, epoch);
    };
    if (world.broken === "fsyncOfSeal") life.main.after(0, durable);
    else log.write(this.shard, write, durable);
  }

  #revoke(epoch: Epoch): void {
    this.#node.revoke(this.shard, epoch, (lastGrantedMs) => {
      this.step({ kind: "revoked", epoch, lastGrantedMs, nowMs: this.#node.nowMs });
    });
  }

  #answer(kind: "seal" | "handOver" | "graft", effect: Effect): void {
    this.#node.world.point(this.#node.machine);
    const waiting = this.#calls.filter((call) => call.kind === kind);
    this.#calls = this.#calls.filter((call) => call.kind !== kind);
    for (const call of waiting) call.done(effect);
  }
}
