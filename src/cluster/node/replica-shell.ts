// Runs the replica machine of one shard: performs its effects on the segment log, the links and the
// account engine, and tells it what happened. Rules are in protocol/; frames in outbox.ts.

import type { Logger } from "pino";
import { assert, unreachable } from "../../lib/assert.ts";
import type { Clock } from "../../lib/clock.ts";
import { MailError } from "../../mail/errors.ts";
import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Epoch, Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import type { Apply, EntryDraft } from "../../store/journal.ts";
import type { CommitGroup, RawEntry, SegmentLog } from "../../store/log/types.ts";
import type { CopyPoint } from "../../store/shard-copy.ts";
import { tailEnd } from "../protocol/hash-tail.ts";
import type { Position, SealAnswer } from "../protocol/manager-types.ts";
import { epochOf, serves, stepReplica } from "../protocol/replica.ts";
import { positionOf } from "../protocol/replica-report.ts";
import type { ReplicaState } from "../protocol/replica-state.ts";
import { isBehind, peerOf, streamOf } from "../protocol/replica-streams.ts";
import type { LeaseStarts, ReplicaEffect, ReplicaEvent } from "../protocol/replica-types.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import { Feeder } from "./feeder.ts";
import type { LeaseSource } from "./lease-source.ts";
import type { Outbox } from "./outbox.ts";
import { LogShell } from "./log-shell.ts";
import type { PendingBytes, PendingEntry } from "./pending-entries.ts";
import { ReplicaCalls } from "./replica-calls.ts";
import { ReplicaUpkeep } from "./replica-upkeep.ts";
import { TailShell } from "./tail-shell.ts";

/** A record on its way into the log: proposed here, or come from the primary. */
export type RecordRef =
  | { readonly kind: "draft"; readonly draft: EntryDraft }
  | {
      readonly kind: "raw";
      readonly record: Uint8Array;
      readonly raw: RawEntry;
      readonly payload: unknown;
    };

export type ShellEvent = ReplicaEvent<RecordRef>;
type Effect = ReplicaEffect<RecordRef>;
type EffectOf<K extends Effect["kind"]> = Extract<Effect, { kind: K }>;

/** What a shell needs of its node. */
export interface ShellContext {
  readonly log: SegmentLog;
  readonly apply: Apply;
  readonly clock: Clock;
  readonly logger: Logger;
  outbox(node: MemberId): Outbox;
  /** A flush is due for this shard. */
  dirty(shell: ReplicaShell): void;
  /** A group was synced so long after its first entry of this shard. */
  synced(tookMs: number): void;
  /** The shard table must be read again: a member holds a newer epoch. */
  refreshTable(): void;
  /** Sends blobs that a member lacks; never rejects. */
  sendBlobs(to: MemberId, shard: ShardId, blobs: readonly string[]): Promise<void>;
  /** Keeps a suffix that is about to be cut from the log; resolves when it is on disk. */
  saveCut(shard: ShardId, records: readonly PendingEntry[]): Promise<void>;
  /** Makes this node's copy anew; undefined when that failed. Never rejects. */
  copy(shard: ShardId, from: MemberId): Promise<CopyPoint | undefined>;
  cancelCopy(shard: ShardId): void;
  inspect(raw: RawEntry): { readonly payload: unknown; readonly missing: readonly string[] };
  /** Undefined: leases count as fresh. */
  readonly leases: LeaseSource | undefined;
  /** Our bug, or a log that failed: the process ends. */
  failed(shard: ShardId, error: unknown): void;
  /** What a copy wishes has changed. */
  reportChanged(): void;
  /** Something that an operator should look into was logged. */
  alarmed(why: string): void;
  readonly pendingBytes: PendingBytes;
  /** This copy takes up or gives up the part of primary: what was proposed here may never be committed. */
  roleChanged(shard: ShardId): void;
}

type RareEffect = Exclude<
  Effect,
  {
    kind:
      | "append"
      | "appendRaw"
      | "refuse"
      | "commit"
      | "show"
      | "ship"
      | "send"
      | "feed"
      | "saveCut"
      | "cut"
      | "expire"
      | "sendBlobs";
  }
>;

export class ReplicaShell {
  readonly shard: ShardId;
  readonly log: LogShell;
  readonly #state: ReplicaState;
  readonly #context: ShellContext;
  readonly #feeder: Feeder;
  readonly #tail: TailShell;
  readonly #calls = new ReplicaCalls();
  readonly #upkeep: ReplicaUpkeep;
  /** Allocated once: it is asked for every read and write. */
  readonly #leaseStartMs: LeaseStarts;

  constructor(shard: ShardId, state: ReplicaState, context: ShellContext) {
    this.shard = shard;
    this.#state = state;
    this.#context = context;
    this.log = new LogShell(this, context, this.#calls);
    this.#feeder = new Feeder(this, context);
    this.#tail = new TailShell(this, context);
    this.#upkeep = new ReplicaUpkeep(this, context);
    const { leases } = context;
    this.#leaseStartMs =
      leases === undefined
        ? () => Number.POSITIVE_INFINITY
        : (node) => leases.leaseStartMs(shard, node);
  }

  get state(): Readonly<ReplicaState> {
    return this.#state;
  }

  get serves(): boolean {
    return serves(this.#state, this.#nowMs, this.#leaseStartMs);
  }

  /** The unapplied tail found on the disk, in order, before anything else. */
  recovered(tail: readonly PendingEntry[]): void {
    for (const entry of tail) this.log.pending.push(entry);
  }

  /** @throws {MailError} WRONG_NODE, REPLICA_UNREACHABLE (backlog), and what the log's append throws. */
  propose(draft: EntryDraft): { readonly lsn: Lsn; readonly committed: Promise<void> } {
    const bytes = draft.head.byteLength + (draft.body?.byteLength ?? 0);
    const at = { nowMs: this.#nowMs, leaseStartMs: this.#leaseStartMs };
    this.log.expectProposal();
    this.step({ kind: "propose", ref: { kind: "draft", draft }, bytes, ...at });
    const pending = this.log.proposal();
    const committed = new Promise<void>((resolve, reject) => {
      pending.waiter = { resolve, reject };
    });
    this.#context.dirty(this);
    return { lsn: pending.lsn, committed };
  }

  step(event: ShellEvent): void {
    const effects: Effect[] = [];
    stepReplica(this.#state, event, effects);
    let full = false;
    let tailFull = false;
    for (const effect of effects) {
      if (effect.kind !== "appendRaw") this.#perform(effect);
      // What follows an entry that the log refused is refused with it.
      else if (effect.tail) tailFull ||= !this.#tail.append(effect.entry);
      else full ||= !this.log.appendRaw(effect.entry);
    }
  }

  /** A config of the table. */
  config(config: ShardConfig): void {
    const before = this.#state.role;
    const epochBefore = this.#state.config?.epoch;
    this.step({ kind: "config", config, nowMs: this.#nowMs });
    const { role } = this.#state;
    const changed = before !== role || epochBefore !== this.#state.config?.epoch;
    // Another primary decides what becomes of our proposals: who waits here would wait in vain.
    if (before === "primary" && role !== "primary") {
      this.log.expire(tailEnd(this.#state.tail));
      this.#calls.unsettled(this.shard, Number.POSITIVE_INFINITY);
    }
    if (changed && (role === "primary" || before === "primary")) {
      this.#context.roleChanged(this.shard);
    }
    if (this.#state.copying && role !== "secondary") this.#context.cancelCopy(this.shard);
    this.#changed();
  }

  tick(nowMs: number): void {
    const { leases } = this.#context;
    const heardMs = leases?.lastGrantedMs(this.shard) ?? Number.POSITIVE_INFINITY;
    this.step({ kind: "tick", nowMs, leaseStartMs: this.#leaseStartMs, heardMs });
    this.#calls.unsettled(this.shard, nowMs - this.#state.limits.commitMs);
  }

  seal(epoch: Epoch, evenIfHeard: boolean): Promise<SealAnswer> {
    const answer = this.#calls.seal();
    const primary = this.#state.config?.primary.node;
    const { leases } = this.#context;
    const heardMs = primary === undefined ? undefined : leases?.heardMs(primary);
    const at = { heardMs: heardMs ?? Number.NEGATIVE_INFINITY, nowMs: this.#nowMs };
    this.step({ kind: "seal", epoch, evenIfHeard, ...at });
    this.#changed();
    return answer;
  }

  handOver(epoch: Epoch): Promise<Position | undefined> {
    const answer = this.#calls.handOver();
    this.step({ kind: "handOver", epoch, nowMs: this.#nowMs });
    this.#changed();
    return answer;
  }

  graft(
    epoch: Epoch,
    from: MemberId,
    throughLsn: Lsn,
    throughHash: number,
  ): Promise<Position | undefined> {
    const answer = this.#calls.graft();
    this.step({ kind: "graft", epoch, from, throughLsn, throughHash, nowMs: this.#nowMs });
    this.#context.dirty(this);
    return answer;
  }

  /** Where this copy stands, if it is the primary of `epoch`. */
  position(epoch: Epoch): Position | undefined {
    const { role, active, config } = this.#state;
    const asked = role === "primary" && active && config?.epoch === epoch;
    return asked ? positionOf(this.#state) : undefined;
  }

  /** Undefined when everything that is shown is committed, too; else resolves when it is. */
  settled(): Promise<void> | undefined {
    const { shownLsn, commitLsn } = this.#state;
    return shownLsn <= commitLsn ? undefined : this.#calls.settled(shownLsn, this.#nowMs);
  }

  /** A group of the log with entries of this shard is on disk. */
  durable(group: CommitGroup): void {
    this.#tail.durable(group);
    if (this.log.durable(group)) this.#feeder.durable();
    this.#context.dirty(this);
  }

  /** True when a flush would ship something to the member. */
  behind(node: MemberId): boolean {
    const peer = peerOf(this.#state, node);
    if (peer === undefined) return false;
    const { first } = peer;
    return isBehind(this.#state, peer) || (first !== undefined && isBehind(this.#state, first));
  }

  #hasAcked(node: MemberId, tail: boolean, lsn: Lsn): boolean {
    const stream = streamOf(this.#state, node, tail);
    return stream === undefined || stream.mode === "down" || stream.ackedLsn >= lsn;
  }

  /** Ends what waits: this process stops. */
  stop(): void {
    const error = new MailError({ code: "UNAVAILABLE", why: "this node is stopping" });
    this.log.stop(error);
    this.#calls.stop(error);
  }

  /** The config or what is sealed may have changed. */
  #changed(): void {
    this.#upkeep.tellPulse();
    this.#context.dirty(this);
  }

  get #nowMs(): number {
    return this.#context.clock.monotonicMs();
  }

  #perform(effect: Exclude<Effect, { kind: "appendRaw" }>): void {
    switch (effect.kind) {
      case "append":
        return this.log.append(effect);
      case "refuse":
        return this.log.refuse(effect);
      case "commit":
        return this.log.commit(effect.throughLsn);
      case "show":
        return this.log.show(effect.fromLsn, effect.throughLsn);
      case "ship":
        return this.#ship(effect);
      case "send":
        return this.#send(effect);
      case "feed":
        return this.#feeder.feed(effect);
      case "saveCut":
        return this.log.saveCut(effect);
      case "cut":
        return effect.tail ? this.#tail.cut(effect) : this.log.cut(effect);
      case "expire":
        return this.log.expire(effect.throughLsn);
      case "sendBlobs":
        return this.#feeder.sendBlobs(effect);
      default:
        return this.#performRare(effect);
    }
  }

  /** Effects of changes of members. */
  #performRare(effect: RareEffect): void {
    const { logger } = this.#context;
    const { shard } = this;
    switch (effect.kind) {
      case "persistConfig":
        return this.#upkeep.persistConfig(effect.config);
      case "persistSeal":
        return this.#upkeep.persistSeal(effect.epoch);
      case "revoke":
        return this.#upkeep.revoke(effect.epoch);
      case "startTail":
        return this.#tail.start(effect);
      case "dropTail":
        return this.#tail.drop();
      case "sendPulled":
        return this.#tail.send(effect);
      case "copy":
        return this.#upkeep.copy(effect.from);
      case "report":
        return this.#context.reportChanged();
      case "sealed":
      case "sealRefused":
      case "handedOver":
      case "handOverRefused":
      case "grafted":
        return this.#calls.answer(effect, this.#state);
      case "refreshTable":
        return this.#context.refreshTable();
      case "alarm":
        logger.error({ shard, why: effect.why }, "replica alarm");
        return this.#context.alarmed(effect.why);
      default:
        return unreachable(effect);
    }
  }

  #ship(effect: EffectOf<"ship">): void {
    const { to, toInc, tail, epoch, fromLsn, throughLsn, prevHash, mark } = effect;
    const entries = this.log.pending.range(fromLsn, throughLsn);
    const at = { prevLsn: makeLsn(fromLsn - 1), prevHash, mark };
    const base = { epoch, fromInc: this.#state.inc, toInc, tail };
    const outbox = this.#context.outbox(to);
    outbox.addAppend("append", this.shard, base, at, entries);
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    outbox.sent(bytes, this.#nowMs, () => this.#hasAcked(to, tail, throughLsn));
    this.#context.dirty(this);
  }

  #send(effect: EffectOf<"send">): void {
    const { to, message } = effect;
    const outbox = this.#context.outbox(to);
    if (message.kind === "append") {
      assert(message.entries.length === 0, "entries are shipped, not sent");
      outbox.addAppend("append", this.shard, message, message, []);
    } else if (message.kind !== "pulled") {
      outbox.add(this.shard, message);
    }
    this.#context.dirty(this);
  }
}

/** The epoch a shell goes by, for WRONG_NODE answers. */
export function shellEpoch(shell: ReplicaShell): ReturnType<typeof epochOf> {
  return epochOf(shell.state);
}
