// Runs the replica machine of one shard: performs its effects on the segment log, the links and the
// account engine, and tells it what happened. Rules are in protocol/; frames in outbox.ts.

import type { Logger } from "pino";
import { assert, unreachable } from "../../lib/assert.ts";
import type { Clock } from "../../lib/clock.ts";
import { MailError } from "../../mail/errors.ts";
import { lsn as makeLsn, opId } from "../../mail/ids.ts";
import type { Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import type { Apply, Entry, EntryDraft } from "../../store/journal.ts";
import type { Appended, CommitGroup, RawEntry, SegmentLog } from "../../store/log/types.ts";
import { isBehind, peerOf } from "../protocol/replica-primary.ts";
import { tailEnd } from "../protocol/hash-tail.ts";
import { epochOf, serves, stepReplica } from "../protocol/replica.ts";
import type {
  ReplicaEffect,
  ReplicaEvent,
  ReplicaState,
  WireEntry,
} from "../protocol/replica-types.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import { Feeder } from "./feeder.ts";
import type { Outbox } from "./outbox.ts";
import { PendingEntries } from "./pending-entries.ts";
import type { PendingEntry } from "./pending-entries.ts";
import { encodeShardConfig } from "./shard-codec.ts";

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
  /** Keeps a suffix that is cut from the log; never rejects. */
  saveCut(shard: ShardId, records: readonly PendingEntry[]): void;
  /** This copy takes up or gives up the part of primary: what was proposed here may never be committed. */
  roleChanged(shard: ShardId): void;
}

/** Kinds from 64 on are the cluster's; the account engine ignores them. */
export const newEpochKind = 64;

const newEpochOpId = opId("0".repeat(32));
const noHead = new Uint8Array(0);

export class ReplicaShell {
  readonly shard: ShardId;
  readonly pending = new PendingEntries();
  readonly #state: ReplicaState;
  readonly #context: ShellContext;
  readonly #feeder: Feeder;
  /** The shard's newest entry in each group that is not on disk yet, oldest first. */
  readonly #groups: {
    readonly group: CommitGroup;
    readonly sinceMs: number;
    lsn: Lsn;
    hash: number;
  }[] = [];
  /** Set by the effects of the propose that is being stepped. */
  #proposed: PendingEntry | undefined;
  #refused: MailError | undefined;

  constructor(shard: ShardId, state: ReplicaState, context: ShellContext) {
    this.shard = shard;
    this.#state = state;
    this.#context = context;
    this.#feeder = new Feeder(this, context);
  }

  get state(): Readonly<ReplicaState> {
    return this.#state;
  }

  get serves(): boolean {
    return serves(this.#state);
  }

  /** The unapplied tail found on the disk, in order, before anything else. */
  recovered(tail: readonly PendingEntry[]): void {
    for (const entry of tail) this.pending.push(entry);
  }

  /** @throws {MailError} WRONG_NODE, REPLICA_UNREACHABLE (backlog), and what the log's append throws. */
  propose(draft: EntryDraft): { readonly lsn: Lsn; readonly committed: Promise<void> } {
    const bytes = draft.head.byteLength + (draft.body?.byteLength ?? 0);
    this.#refused = undefined;
    this.#proposed = undefined;
    this.step({ kind: "propose", ref: { kind: "draft", draft }, bytes });
    const pending = this.#outcome();
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
    for (const effect of effects) {
      if (effect.kind !== "appendRaw") this.#perform(effect);
      // What follows an entry that the log refused is refused with it.
      else if (!full) full = !this.#appendRaw(effect.entry);
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
    if (before === "primary" && role !== "primary") this.#expire(tailEnd(this.#state.tail));
    if (changed && (role === "primary" || before === "primary")) {
      this.#context.roleChanged(this.shard);
    }
    this.#context.dirty(this);
  }

  /** A group of the log with entries of this shard is on disk. */
  durable(group: CommitGroup): void {
    const first = this.#groups[0];
    if (first?.group !== group) return;
    this.#groups.shift();
    this.#context.synced(this.#nowMs - first.sinceMs);
    this.step({ kind: "durable", lsn: first.lsn, hash: first.hash });
    this.#feeder.durable();
    this.#context.dirty(this);
  }

  /** True when a flush would ship something to the member. */
  behind(node: MemberId): boolean {
    const peer = peerOf(this.#state, node);
    return peer !== undefined && isBehind(this.#state, peer);
  }

  #hasAcked(node: MemberId, lsn: Lsn): boolean {
    const peer = peerOf(this.#state, node);
    return peer === undefined || peer.mode === "down" || peer.ackedLsn >= lsn;
  }

  /** Ends what waits: this process stops. */
  stop(): void {
    const why = "this node is stopping";
    for (const waiter of this.pending.takeWaiters(makeLsn(Number.MAX_SAFE_INTEGER))) {
      waiter.reject(new MailError({ code: "UNAVAILABLE", why }));
    }
  }

  /** What the propose just stepped came to. */
  #outcome(): PendingEntry {
    if (this.#refused !== undefined) throw this.#refused;
    assert(this.#proposed !== undefined, "a proposal is logged or refused");
    return this.#proposed;
  }

  get #nowMs(): number {
    return this.#context.clock.monotonicMs();
  }

  #perform(effect: Exclude<Effect, { kind: "appendRaw" }>): void {
    switch (effect.kind) {
      case "append":
        return this.#append(effect);
      case "commit":
        return this.#commit(effect.throughLsn);
      case "ship":
        return this.#ship(effect);
      case "send":
        return this.#send(effect);
      case "feed":
        return this.#feeder.feed(effect);
      case "cut":
        return this.#cut(effect);
      case "persistConfig":
        return this.#persist(effect.config);
      case "refuse":
        this.#refused = refusal(this.shard, effect);
        return;
      case "expire":
        return this.#expire(effect.throughLsn);
      case "sendBlobs":
        return this.#feeder.sendBlobs(effect);
      case "refreshTable":
        return this.#context.refreshTable();
      case "alarm":
        this.#context.logger.error({ shard: this.shard, why: effect.why }, "replica alarm");
        return;
      default:
        return unreachable(effect);
    }
  }

  #append(effect: EffectOf<"append">): void {
    const draft = effect.ref?.kind === "draft" ? effect.ref.draft : newEpochDraft(this.shard);
    const appended = this.#context.log.append(draft);
    assert(appended.lsn === effect.lsn, "machine and log agree on the next lsn");
    assert(appended.epoch === effect.epoch, "machine and log agree on the epoch");
    const { kind, head, payload } = draft;
    this.#proposed = this.#logged(appended, { opId: draft.opId, kind, head, payload });
    const bytes = this.#proposed.bytes;
    const { lsn, hash } = appended;
    this.step({ kind: "logged", lsn, hash, bytes, nowMs: this.#nowMs });
  }

  /** False when the log has no room for the entry now. */
  #appendRaw(entry: WireEntry<RecordRef>): boolean {
    assert(entry.ref.kind === "raw", "entries of the wire come as records");
    const { record, raw, payload } = entry.ref;
    let appended: Appended;
    try {
      appended = this.#context.log.appendRaw(record, raw);
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      assert(
        error.code !== "CONFLICT" && error.code !== "INVALID",
        "the machine checked the entry",
      );
      this.#context.logger.warn({ shard: this.shard, err: error }, "log takes no entries now");
      this.step({ kind: "notLogged", lsn: entry.lsn });
      return false;
    }
    assert(appended.hash === entry.hash, "machine and log agree on the hash");
    this.#logged(appended, { opId: raw.opId, kind: raw.kind, head: raw.head, payload });
    return true;
  }

  #logged(appended: Appended, what: Pick<Entry, "opId" | "kind" | "head" | "payload">) {
    const { lsn, epoch, hash, location, group, parts } = appended;
    const entry: Entry = { shard: this.shard, lsn, epoch, location, ...what };
    const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
    const pending: PendingEntry = { lsn, entry, hash, parts, bytes, waiter: undefined };
    this.pending.push(pending);
    const newest = this.#groups[this.#groups.length - 1];
    if (newest?.group === group) {
      newest.lsn = lsn;
      newest.hash = hash;
    } else {
      this.#groups.push({ group, sinceMs: this.#nowMs, lsn, hash });
    }
    return pending;
  }

  /** Applies and answers committed entries, in order. */
  #commit(through: Lsn): void {
    const { log, apply } = this.#context;
    log.setCommitMark(this.shard, through);
    const waiters: (() => void)[] = [];
    for (
      let next = this.pending.shift(through);
      next !== undefined;
      next = this.pending.shift(through)
    ) {
      apply(next.entry);
      if (next.waiter !== undefined) waiters.push(next.waiter.resolve);
    }
    log.setApplied(this.shard, through);
    this.step({ kind: "applied", lsn: through });
    for (const resolve of waiters) resolve();
  }

  #ship(effect: EffectOf<"ship">): void {
    const { to, toInc, epoch, fromLsn, throughLsn, prevHash, mark } = effect;
    const entries = this.pending.range(fromLsn, throughLsn);
    const at = { prevLsn: makeLsn(fromLsn - 1), prevHash, mark };
    const base = { epoch, fromInc: this.#state.inc, toInc };
    const outbox = this.#context.outbox(to);
    outbox.addAppend(this.shard, base, at, entries);
    const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
    outbox.sent(bytes, this.#nowMs, () => this.#hasAcked(to, throughLsn));
    this.#context.dirty(this);
  }

  #send(effect: EffectOf<"send">): void {
    const { to, message } = effect;
    const outbox = this.#context.outbox(to);
    if (message.kind === "append") {
      assert(message.entries.length === 0, "entries are shipped, not sent");
      outbox.addAppend(this.shard, message, message, []);
    } else {
      outbox.add(this.shard, message);
    }
    this.#context.dirty(this);
  }

  #cut(effect: EffectOf<"cut">): void {
    const gone = this.pending.cut(effect.afterLsn);
    this.#context.saveCut(this.shard, gone);
    for (const { waiter } of gone) {
      waiter?.reject(new MailError({ code: "REPLICA_UNREACHABLE", shard: this.shard }));
    }
    this.#context.log.cut(this.shard, effect.afterLsn, effect.afterHash);
    const { shard } = this;
    const { afterLsn, endLsn } = effect;
    this.#context.logger.warn({ shard, afterLsn, endLsn }, "unacknowledged tail cut");
  }

  #persist(config: ShardConfig): void {
    const { log, logger } = this.#context;
    const { sealedEpoch } = log.state(this.shard);
    const bytes = Buffer.from(encodeShardConfig(config));
    const group = log.writeConfig(this.shard, {
      epoch: config.epoch,
      sealedEpoch,
      config: bytes,
    });
    group.durable.then(
      () => {
        this.step({ kind: "configDurable", epoch: config.epoch });
        this.#context.dirty(this);
      },
      // The log has told the process already, which ends.
      (error: unknown) => logger.error({ shard: this.shard, err: error }, "config is not durable"),
    );
  }

  #expire(through: Lsn): void {
    const error = { code: "REPLICA_UNREACHABLE", shard: this.shard } as const;
    for (const waiter of this.pending.takeWaiters(through)) waiter.reject(new MailError(error));
  }
}

function newEpochDraft(shard: ShardId): EntryDraft {
  return { shard, opId: newEpochOpId, kind: newEpochKind, head: noHead, payload: undefined };
}

function refusal(shard: ShardId, effect: EffectOf<"refuse">): MailError {
  if (effect.why === "backlog") return new MailError({ code: "REPLICA_UNREACHABLE", shard });
  const { epoch } = effect;
  return new MailError({ code: "WRONG_NODE", shard, ...(epoch === undefined ? {} : { epoch }) });
}

/** The epoch a shell goes by, for WRONG_NODE answers. */
export function shellEpoch(shell: ReplicaShell): ReturnType<typeof epochOf> {
  return epochOf(shell.state);
}
