// The coordinator of a single machine: one process, its state in RAM, every transaction fsynced in its
// own log before it is answered or watched. Serving it to other members is coordinator-service.ts.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Logger } from "pino";
import type { Clock, Timer } from "../../lib/clock.ts";
import type { Disk } from "../../lib/disk.ts";
import { MailError, isMailError } from "../../mail/errors.ts";
import { memberId } from "../../mail/ids.ts";
import type { MemberId } from "../../mail/ids.ts";
import { checkChanges, checkKey, leaseMsMin, presenceKey, presencePrefix } from "./coordinator.ts";
import type {
  Coordinator,
  KeyChange,
  KeyCondition,
  KeyListing,
  KeyState,
  Registration,
} from "./coordinator.ts";
import { decodeLogRecord, encodeImage, encodeTransactions } from "./embedded-record.ts";
import { KeySpace } from "./key-space.ts";
import type { Transaction } from "./key-space.ts";
import { acquirePresence, decodePresence, holdLease } from "./lease.ts";
import type { HeldLease, LeaseHome } from "./lease.ts";
import { RecordLog, isDiskFull } from "./record-log.ts";

export interface EmbeddedCoordinatorOptions {
  readonly disk: Disk;
  /** Path of the log on the disk; its folder must exist. */
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** A write or fsync failed: the process must end, as what is on the disk is unknown now. */
  readonly fatal: (error: unknown) => void;
  /** Transactions that a resumed watch still gets one by one. */
  readonly historyMax?: number;
  /** Deleted keys that are remembered, so that a resumed watch learns of them. */
  readonly deletedMax?: number;
  /** The log is rewritten as one snapshot when it is longer than this and four times its snapshot. */
  readonly compactBytes?: number;
}

interface Queued {
  readonly changes: readonly KeyCondition[];
  readonly resolve: (outcome: { ok: boolean; revision: number }) => void;
  readonly reject: (error: unknown) => void;
}

interface Lease {
  readonly incarnation: number;
  readonly ttlMs: number;
  renewedMs: number;
}

const queueMax = 1000;
const sweepMs = 50;

export class EmbeddedCoordinator implements Coordinator, LeaseHome {
  readonly #options: EmbeddedCoordinatorOptions;
  readonly #keys: KeySpace;
  readonly #log: RecordLog;
  readonly #leases = new Map<MemberId, Lease>();
  readonly #held = new Set<HeldLease>();
  #snapshotBytes: number;
  #queue: Queued[] = [];
  #writing: Promise<void> | undefined;
  #watchers: (() => void)[] = [];
  #sweeper: Timer | undefined;
  #closedWhy: string | undefined;

  private constructor(options: EmbeddedCoordinatorOptions, keys: KeySpace, log: RecordLog) {
    this.#options = options;
    this.#keys = keys;
    this.#log = log;
    this.#snapshotBytes = encodeImage(keys.image()).length;
    // Whoever was present before our start gets a whole lease to find us again.
    for (const { key, value } of keys.list(presencePrefix).entries) {
      const presence = decodePresence(value);
      const member = memberId(key.slice(presencePrefix.length));
      if (presence !== undefined) this.#grant(member, presence.incarnation, presence.ttlMs);
    }
    this.#sweep();
  }

  /** @throws {MailError} DAMAGED when the log is; a NodeJS.ErrnoException when the disk fails. */
  static async open(options: EmbeddedCoordinatorOptions): Promise<EmbeddedCoordinator> {
    const keys = new KeySpace({
      historyMax: options.historyMax ?? 4096,
      deletedMax: options.deletedMax ?? 16_384,
    });
    const empty = encodeImage(keys.image());
    const { log, payloads, cut } = await RecordLog.open(options.disk, options.path, empty);
    payloads.forEach((payload, index) => {
      const record = decodeLogRecord(options.path, payload);
      if (record.kind === "image" && index === 0) keys.restore(record.image);
      else if (record.kind === "transactions" && index > 0)
        record.transactions.forEach((t) => keys.apply(t));
      else throw new MailError({ code: "DAMAGED", what: `${options.path}, record ${index}` });
    });
    if (cut > 0) options.log.warn({ cutBytes: cut }, "torn last record of the coordinator cut off");
    options.log.info({ revision: keys.revision }, "coordinator opened");
    return new EmbeddedCoordinator(options, keys, log);
  }

  get revision(): number {
    return this.#keys.revision;
  }

  async get(key: string): Promise<KeyState | undefined> {
    this.#assertOpen();
    checkKey(key);
    return this.#keys.get(key);
  }

  /**
   * Several keys at one revision, after everything that was asked before is committed or refused:
   * what this doesn't show of an earlier compare-and-set will never come.
   */
  async read(keys: readonly string[]): Promise<readonly (KeyState | undefined)[]> {
    await this.#enqueue([]);
    return keys.map((key) => this.#keys.get(key));
  }

  async list(prefix: string): Promise<KeyListing> {
    this.#assertOpen();
    return this.#keys.list(prefix);
  }

  async readBarrier(): Promise<number> {
    this.#assertOpen();
    return this.#keys.revision;
  }

  async compareAndSet(
    changes: readonly KeyCondition[],
  ): Promise<{ readonly ok: boolean; readonly revision: number }> {
    checkChanges(changes);
    return this.#enqueue(changes);
  }

  async *watch(
    prefix: string,
    fromRevision: number,
    signal: AbortSignal,
  ): AsyncGenerator<KeyChange, void, undefined> {
    let known = fromRevision;
    let first = true;
    while (!signal.aborted) {
      this.#assertOpen();
      // Nothing to learn at revision 0 means an empty store, not "from the beginning" each time.
      if (first || known < this.#keys.revision) {
        const { changes, upTo } = this.#keys.since(prefix, known);
        first = false;
        known = upTo;
        for (const change of changes) {
          if (signal.aborted) return;
          yield change;
        }
      } else {
        await this.#changed(signal);
      }
    }
  }

  async register(member: MemberId, ttlMs: number): Promise<Registration> {
    const lease = await holdLease(this, this.#options.clock, member, ttlMs);
    this.#held.add(lease);
    lease.lost.then(
      () => this.#held.delete(lease),
      () => undefined,
    );
    return lease;
  }

  async acquireLease(member: MemberId, ttlMs: number): Promise<number> {
    if (!(ttlMs >= leaseMsMin)) {
      throw new MailError({ code: "INVALID", why: `leases last ${leaseMsMin} ms or longer` });
    }
    const incarnation = await acquirePresence(this, member, ttlMs);
    this.#grant(member, incarnation, ttlMs);
    return incarnation;
  }

  async renewLease(member: MemberId, incarnation: number): Promise<boolean> {
    this.#assertOpen();
    const lease = this.#leases.get(member);
    if (lease?.incarnation !== incarnation) return false;
    lease.renewedMs = this.#options.clock.monotonicMs();
    return true;
  }

  async releaseLease(member: MemberId, incarnation: number): Promise<void> {
    await this.#remove(member, incarnation);
  }

  /** Finishes what is queued, then refuses everything. Presence of others stays until their leases end. */
  async close(): Promise<void> {
    if (this.#closedWhy !== undefined) return;
    for (const lease of this.#held) lease.lose("coordinator closed");
    while (this.#writing !== undefined) await this.#writing;
    this.#shut("coordinator is stopping");
    await this.#log.close();
  }

  #assertOpen(): void {
    if (this.#closedWhy !== undefined) {
      throw new MailError({ code: "UNAVAILABLE", why: this.#closedWhy });
    }
  }

  /** No changes at all: waits for its turn only. */
  #enqueue(changes: readonly KeyCondition[]): Promise<{ ok: boolean; revision: number }> {
    return new Promise((resolve, reject) => {
      this.#assertOpen();
      if (this.#queue.length >= queueMax)
        throw new MailError({ code: "BUSY", what: "coordinator" });
      this.#queue.push({ changes, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  /** One record at a time: what arrives while one is synced shares the next. */
  async #write(): Promise<void> {
    await nextTurn();
    while (this.#queue.length > 0 && this.#closedWhy === undefined) {
      const batch = this.#queue;
      this.#queue = [];
      await this.#commit(batch);
    }
    this.#writing = undefined;
  }

  async #commit(batch: readonly Queued[]): Promise<void> {
    const accepted: Transaction[] = [];
    const granted = new Map<Queued, number>();
    for (const queued of batch) {
      if (queued.changes.length === 0 || !this.#keys.holds(queued.changes, accepted)) continue;
      const revision = this.#keys.revision + accepted.length + 1;
      const changes = queued.changes.map(({ key, value }) => [key, value ?? null] as const);
      accepted.push({ revision, changes });
      granted.set(queued, revision);
    }
    try {
      if (accepted.length > 0) await this.#persist(accepted);
    } catch (error) {
      for (const { reject } of batch) reject(this.#failed(error));
      return;
    }
    for (const transaction of accepted) this.#keys.apply(transaction);
    for (const queued of batch) {
      const revision = granted.get(queued);
      queued.resolve({ ok: revision !== undefined, revision: revision ?? this.#keys.revision });
    }
    this.#wake();
  }

  async #persist(transactions: readonly Transaction[]): Promise<void> {
    const least = this.#options.compactBytes ?? 1024 * 1024;
    if (this.#log.bytes > Math.max(least, 4 * this.#snapshotBytes)) await this.#compact();
    await this.#log.append(encodeTransactions(transactions));
  }

  async #compact(): Promise<void> {
    const image = encodeImage(this.#keys.image());
    try {
      await this.#log.rewrite(image);
      this.#snapshotBytes = image.length;
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      // The old log is whole and goes on; the next transaction tries again.
      this.#options.log.warn({ err: error }, "no space to compact the coordinator log");
    }
  }

  /** A full disk refuses one batch; any other failure leaves the disk in doubt and ends everything. */
  #failed(error: unknown): unknown {
    if (isMailError(error, "DISK_FULL")) return error;
    if (this.#closedWhy === undefined) {
      this.#options.log.error({ err: error }, "coordinator log failed");
      this.#shut("coordinator log failed");
      this.#options.fatal(error);
    }
    const failure = { code: "UNAVAILABLE", why: "coordinator log failed" } as const;
    return new MailError(failure, { cause: error });
  }

  #shut(why: string): void {
    this.#closedWhy = why;
    this.#sweeper?.cancel();
    for (const lease of this.#held) lease.lose(why);
    for (const { reject } of this.#queue.splice(0)) {
      reject(new MailError({ code: "UNAVAILABLE", why }));
    }
    this.#wake();
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        signal.removeEventListener("abort", wake);
        this.#watchers = this.#watchers.filter((other) => other !== wake);
        resolve();
      };
      signal.addEventListener("abort", wake, { once: true });
      this.#watchers.push(wake);
    });
  }

  #wake(): void {
    for (const wake of this.#watchers.splice(0)) wake();
  }

  #grant(member: MemberId, incarnation: number, ttlMs: number): void {
    const newest = this.#leases.get(member);
    if (newest !== undefined && newest.incarnation > incarnation) return;
    const renewedMs = this.#options.clock.monotonicMs();
    this.#leases.set(member, { incarnation, ttlMs, renewedMs });
  }

  #sweep(): void {
    this.#sweeper = this.#options.clock.after(sweepMs, () => {
      const nowMs = this.#options.clock.monotonicMs();
      for (const [member, { incarnation, ttlMs, renewedMs }] of this.#leases) {
        if (nowMs - renewedMs < ttlMs) continue;
        this.#options.log.info({ member, incarnation }, "lease expired");
        this.#remove(member, incarnation).catch((error: unknown) => {
          // The lease is gone from RAM; the next start of this process grants and expires it again.
          this.#options.log.warn({ err: error, member }, "presence not removed");
        });
      }
      this.#sweep();
    });
  }

  async #remove(member: MemberId, incarnation: number): Promise<void> {
    const lease = this.#leases.get(member);
    if (lease?.incarnation === incarnation) this.#leases.delete(member);
    const key = presenceKey(member);
    const present = await this.get(key);
    if (decodePresence(present?.value)?.incarnation !== incarnation) return;
    await this.compareAndSet([{ key, ifRevision: present?.revision ?? 0, value: undefined }]);
  }
}
