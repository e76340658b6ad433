// The store's journal in a cluster: one replica machine per shard of which this node is a member,
// over one segment log and the links to the other members. Collects a tick's messages per member.

import type { Timer } from "../../lib/clock.ts";
import { crashPoint, crashPointSoon, primeCrashPoint } from "../../lib/crash-point.ts";
import { MailError, isMailError } from "../../mail/errors.ts";
import type { Epoch, Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import { entryKind } from "../../store/entry-kind.ts";
import type { EntryDraft, Journal } from "../../store/journal.ts";
import { decodeEntry } from "../../store/log/record.ts";
import type { RpcRequest } from "../link/rpc.ts";
import type { ChainHash } from "../protocol/hash-tail.ts";
import type { Position, SealAnswer, ShardReport } from "../protocol/manager-types.ts";
import { makeReplica } from "../protocol/replica.ts";
import { defaultLimits } from "../protocol/replica-state.ts";
import type { Recovered } from "../protocol/replica-state.ts";
import type { ReplicaMessage, WireEntry } from "../protocol/replica-types.ts";
import type { Copy, ShardConfig } from "../protocol/shard-config.ts";
import type { FailoverTarget } from "./failover-target.ts";
import type { JournalOptions } from "./journal-options.ts";
import { Outbox } from "./outbox.ts";
import type { PendingBytes } from "./pending-entries.ts";
import { RecentTimes } from "./recent-times.ts";
import { emptyShard, recoverShard } from "./recover-shard.ts";
import { ReplicaShell, shellEpoch } from "./replica-shell.ts";
import type { RecordRef, ShellContext } from "./replica-shell.ts";
import { decodeFrame, replicaMethod } from "./replica-wire.ts";
import type { WireAppend, WireMessage, WirePulled } from "./replica-wire.ts";

const tickMs = 50;
const uncommittedBytesMaxDefault = 128 * 1024 * 1024;

export class ReplicatedJournal implements Journal, FailoverTarget {
  /** Alarms of replicas since the start, by kind. */
  readonly alarms = new Map<string, number>();
  readonly #options: JournalOptions;
  readonly #shells = new Map<ShardId, ReplicaShell>();
  readonly #outboxes = new Map<MemberId, { readonly outbox: Outbox; readonly off: () => void }>();
  readonly #dirty = new Set<ReplicaShell>();
  readonly #pendingBytes: PendingBytes = { bytes: 0 };
  #reportChanged: () => void = () => undefined;
  readonly #shellContext: ShellContext;
  readonly #syncTimes = new RecentTimes();
  #refresh: () => void = () => undefined;
  #onSynced: (tookMs: number) => void = () => undefined;
  #flushDue = false;
  #timer: Timer | undefined;
  #state: "open" | "draining" | "closed" = "open";

  private constructor(options: JournalOptions) {
    this.#options = options;
    const { copies, logger } = options;
    this.#shellContext = {
      log: options.log,
      apply: options.apply,
      clock: options.clock,
      logger: options.logger,
      outbox: (node) => this.#outbox(node),
      dirty: (shell) => this.#markDirty(shell),
      synced: (tookMs) => {
        this.#syncTimes.add(tookMs);
        this.#onSynced(tookMs);
      },
      refreshTable: () => this.#refresh(),
      sendBlobs: options.sendBlobs,
      saveCut: options.saveCut,
      roleChanged: options.roleChanged,
      copy: (shard, from) => copies?.take(shard, from) ?? Promise.resolve(undefined),
      cancelCopy: (shard) => copies?.cancel(shard),
      inspect: options.inspect,
      leases: options.leases,
      failed: (shard, error) => {
        logger.error({ shard, err: error }, "replica failed");
        if (!isMailError(error, "UNAVAILABLE")) options.onFatal?.(error);
      },
      reportChanged: () => this.#reportChanged(),
      alarmed: (why) => this.alarms.set(why, (this.alarms.get(why) ?? 0) + 1),
      pendingBytes: this.#pendingBytes,
    };
  }

  /** Takes up every shard of the log. Call before the link server listens. */
  static async open(options: JournalOptions): Promise<ReplicatedJournal> {
    const journal = new ReplicatedJournal(options);
    for (const shard of options.log.shards.keys()) await journal.#openShard(shard);
    options.log.onDurable((group) => {
      crashPoint("primary.afterFsync");
      crashPoint("secondary.afterFsync");
      for (const shard of group.marks.keys()) journal.#shells.get(shard)?.durable(group);
      for (const shard of group.tails ?? noShards) {
        if (!group.marks.has(shard)) journal.#shells.get(shard)?.durable(group);
      }
    });
    options.registry.onSend(replicaMethod, (request) => journal.#receive(request));
    journal.#tick();
    return journal;
  }

  /** What to call when a member is seen to hold a newer epoch than we do. */
  set onRefresh(run: () => void) {
    this.#refresh = run;
  }

  /** A config of the shard table: read at start, and at each change. */
  setConfig(config: ShardConfig): void {
    const { me } = this.#options;
    if (this.#state === "closed") return;
    const members = [config.primary, ...config.secondaries];
    const mine = members.some((copy) => copy.node === me.node && copy.store === me.store);
    let shell = this.#shells.get(config.shard);
    if (shell === undefined) {
      if (!mine) return;
      shell = this.#addShell(config.shard, emptyShard);
    }
    shell.config(config);
    if (mine) for (const copy of members) if (copy.node !== me.node) this.#outbox(copy.node);
  }

  propose(draft: EntryDraft): { readonly lsn: Lsn; readonly committed: Promise<void> } {
    const { shard } = draft;
    const shell = this.#shells.get(shard);
    if (shell === undefined) throw new MailError({ code: "WRONG_NODE", shard });
    if (this.#state !== "open") {
      throw new MailError({ code: "UNAVAILABLE", why: "this node is stopping" });
    }
    const most = this.#options.uncommittedBytesMax ?? uncommittedBytesMaxDefault;
    if (this.uncommittedBytes > most) throw new MailError({ code: "BUSY", what: "journal" });
    return shell.propose(draft);
  }

  serves(shard: ShardId): boolean {
    return this.#state !== "closed" && this.#shells.get(shard)?.serves === true;
  }

  answers(shard: ShardId): boolean {
    return this.serves(shard) && this.configOf(shard)?.forced !== true;
  }

  /** The epoch that this node holds of a shard, if any. */
  epochOf(shard: ShardId): Epoch | undefined {
    const shell = this.#shells.get(shard);
    return shell === undefined ? undefined : shellEpoch(shell);
  }

  /** The config that this node goes by, if it is a member of the shard. */
  configOf(shard: ShardId): ShardConfig | undefined {
    return this.#shells.get(shard)?.state.config;
  }

  /** All replicas of this node, for status and metrics. */
  replicas(): readonly ReplicaShell[] {
    return [...this.#shells.values()];
  }

  /** 99th percentile of the last 128 groups' times to the disk, queueing included. */
  get syncP99Ms(): number {
    return this.#syncTimes.percentile(0.99);
  }

  /** What to call when a commit group is on disk, with how long it took. */
  set onSynced(run: (tookMs: number) => void) {
    this.#onSynced = run;
  }

  /** When the oldest commit group that is not on disk yet got its first entry. */
  get unsyncedSinceMs(): number | undefined {
    let oldest: number | undefined;
    for (const { log } of this.#shells.values()) {
      const since = log.unsyncedSinceMs;
      if (since !== undefined && (oldest === undefined || since < oldest)) oldest = since;
    }
    return oldest;
  }

  /** Entries committed in all shards, ever. */
  get committedEntries(): number {
    let sum = 0;
    for (const shell of this.#shells.values()) sum += shell.state.commitLsn;
    return sum;
  }

  get uncommittedBytes(): number {
    return this.#pendingBytes.bytes;
  }

  settled(shard: ShardId): Promise<void> | undefined {
    return this.#shells.get(shard)?.settled();
  }

  seal(shard: ShardId, epoch: Epoch, evenIfHeard: boolean): Promise<SealAnswer> {
    const shell = this.#shells.get(shard);
    if (shell === undefined) return Promise.resolve({ kind: "unusable" });
    return shell.seal(epoch, evenIfHeard);
  }

  async handOver(shard: ShardId, epoch: Epoch): Promise<Position | undefined> {
    return this.#shells.get(shard)?.handOver(epoch);
  }

  position(shard: ShardId, epoch: Epoch): Position | undefined {
    return this.#shells.get(shard)?.position(epoch);
  }

  async graft(
    shard: ShardId,
    epoch: Epoch,
    from: Copy,
    throughLsn: Lsn,
    throughHash: ChainHash,
  ): Promise<Position | undefined> {
    // A link is made when it is first asked for.
    this.#outbox(from.node);
    return this.#shells.get(shard)?.graft(epoch, from.node, throughLsn, throughHash);
  }

  memberLeaves(node: MemberId): void {
    for (const shell of this.#shells.values())
      shell.step({ kind: "peerLeaving", node, nowMs: this.#nowMs });
  }

  /** What the copies of this node wish of managers now. */
  reports(): readonly ShardReport[] {
    const reports: ShardReport[] = [];
    for (const { state } of this.#shells.values())
      if (state.wish !== undefined) reports.push(state.wish);
    return reports;
  }

  set onReport(run: () => void) {
    this.#reportChanged = run;
  }

  /** Takes no more changes; resolves when nothing of ours waits to be committed, or `signal` aborts. */
  async drain(signal: AbortSignal): Promise<void> {
    this.#state = "draining";
    while (
      !signal.aborted &&
      this.replicas().some((shell) => shell.serves && shell.log.pending.size > 0)
    ) {
      await new Promise<void>((resolve) => {
        this.#options.clock.after(5, resolve);
      });
    }
  }

  close(): void {
    this.#state = "closed";
    this.#timer?.cancel();
    for (const { off } of this.#outboxes.values()) off();
    for (const shell of this.#shells.values()) shell.stop();
  }

  async #openShard(shard: ShardId): Promise<void> {
    const { log, logger } = this.#options;
    const { recovered, tail } = await recoverShard(log, shard);
    if (recovered.damaged === true) {
      logger.error({ shard }, "copy is damaged and must be made anew from its peer");
    }
    this.#addShell(shard, recovered).recovered(tail);
  }

  #addShell(shard: ShardId, from: Recovered): ReplicaShell {
    const { me, incarnation, limits } = this.#options;
    const state = makeReplica(me, incarnation, from, { ...defaultLimits, ...limits }, this.#nowMs);
    const shell = new ReplicaShell(shard, state, this.#shellContext);
    this.#shells.set(shard, shell);
    for (const node of this.#outboxes.keys()) {
      if (this.#options.links.peer(node).up) this.#peerUp(shell, node);
    }
    return shell;
  }

  /** The way to another member, with its link watched from the first use on. */
  #outbox(node: MemberId): Outbox {
    const known = this.#outboxes.get(node);
    if (known !== undefined) return known.outbox;
    const peer = this.#options.links.peer(node);
    const outbox = new Outbox(peer);
    const off = peer.onChange((up) => {
      for (const shell of this.#shells.values()) {
        if (up) this.#peerUp(shell, node);
        else shell.step({ kind: "peerDown", node });
      }
    });
    this.#outboxes.set(node, { outbox, off });
    if (peer.up) for (const shell of this.#shells.values()) this.#peerUp(shell, node);
    return outbox;
  }

  #peerUp(shell: ReplicaShell, node: MemberId): void {
    shell.step({ kind: "peerUp", node, nowMs: this.#nowMs });
    this.#markDirty(shell);
  }

  #receive(request: RpcRequest): void {
    if (this.#state === "closed") return;
    for (const { shard, message } of decodeFrame(request.head, request.body)) {
      const shell = this.#shells.get(shard);
      if (shell === undefined) {
        // We are not a member as far as we know; a newer table may say otherwise.
        this.#refresh();
        continue;
      }
      const checked = this.#check(message);
      if (checked === undefined) {
        this.#options.logger.error({ shard, from: request.from }, "record of the wire is damaged");
        continue;
      }
      shell.step({ kind: "message", from: request.from, message: checked, nowMs: this.#nowMs });
      if (message.kind === "append") crashPoint("secondary.beforeFsync");
      this.#markDirty(shell);
    }
  }

  /** Undefined when a record fails its checksum. */
  #check(message: WireMessage): ReplicaMessage<RecordRef> | undefined {
    if (message.kind !== "append" && message.kind !== "pulled") return message;
    const entries = this.#entriesOf(message);
    if (entries === undefined) return undefined;
    const { epoch, fromInc, toInc, tail, prevLsn, prevHash } = message;
    if (message.kind === "pulled") {
      return { kind: "pulled", epoch, fromInc, toInc, tail, prevLsn, prevHash, entries };
    }
    const { mark } = message;
    return { kind: "append", epoch, fromInc, toInc, tail, prevLsn, prevHash, mark, entries };
  }

  #entriesOf(message: WireAppend | WirePulled): readonly WireEntry<RecordRef>[] | undefined {
    const entries: WireEntry<RecordRef>[] = [];
    for (const record of message.records) {
      const raw = decodeEntry(record);
      if (raw === undefined) return undefined;
      if (raw.kind === entryKind.deliver) primeCrashPoint("secondary");
      const { payload, missing } = this.#options.inspect(raw);
      const { lsn, epoch, hash, prevHash } = raw;
      const ref = { kind: "raw", record, raw, payload } as const;
      entries.push({ lsn, epoch, hash, prevHash, missing, ref });
    }
    return entries;
  }

  #markDirty(shell: ReplicaShell): void {
    this.#dirty.add(shell);
    if (this.#flushDue) return;
    this.#flushDue = true;
    this.#options.soon(() => this.#flush());
  }

  #flush(): void {
    if (this.#state === "closed") return;
    const nowMs = this.#nowMs;
    const waiting: ReplicaShell[] = [];
    for (const shell of this.#dirty) {
      let hold = this.#fullMembers(nowMs);
      shell.step({ kind: "flush", nowMs, hold });
      // A flush ships a piece; the rest follows as long as the members' links can carry it.
      while (this.#isBehind(shell, hold)) {
        hold = this.#fullMembers(nowMs);
        shell.step({ kind: "flush", nowMs, hold });
      }
      if (this.#isBehind(shell, nobody)) waiting.push(shell);
    }
    this.#dirty.clear();
    for (const { outbox } of this.#outboxes.values()) outbox.flush();
    crashPointSoon("primary.afterShip");
    this.#flushDue = false;
    // Acknowledgements, or the next tick, flush these again.
    for (const shell of waiting) this.#dirty.add(shell);
  }

  #fullMembers(nowMs: number): ReadonlySet<MemberId> {
    let full: Set<MemberId> | undefined;
    for (const [node, { outbox }] of this.#outboxes)
      if (outbox.full(nowMs)) (full ??= new Set()).add(node);
    return full ?? nobody;
  }

  /** True when the shell has entries for a member that is not held back. */
  #isBehind(shell: ReplicaShell, hold: ReadonlySet<MemberId>): boolean {
    for (const node of this.#outboxes.keys())
      if (!hold.has(node) && shell.behind(node)) return true;
    return false;
  }

  #tick(): void {
    this.#timer = this.#options.clock.after(tickMs, () => this.#tick());
    const nowMs = this.#nowMs;
    for (const shell of this.#shells.values()) shell.tick(nowMs);
    for (const shell of this.#dirty) this.#markDirty(shell);
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }
}

const nobody: ReadonlySet<MemberId> = new Set();

const noShards: ReadonlySet<ShardId> = new Set();
