// Entries of one shard between the machine and the segment log: appended, applied, answered, cut. Rules
// are in protocol/; the tail-first log is tail-shell.ts's.

import { assert } from "../../lib/assert.ts";
import { MailError } from "../../mail/errors.ts";
import { lsn as makeLsn, opId } from "../../mail/ids.ts";
import type { Lsn, ShardId } from "../../mail/ids.ts";
import type { Entry, EntryDraft } from "../../store/journal.ts";
import type { Appended, CommitGroup } from "../../store/log/types.ts";
import { tailEnd } from "../protocol/hash-tail.ts";
import type { ReplicaEffect, WireEntry } from "../protocol/replica-types.ts";
import { PendingEntries } from "./pending-entries.ts";
import type { PendingEntry } from "./pending-entries.ts";
import type { ReplicaCalls } from "./replica-calls.ts";
import type { RecordRef, ReplicaShell, ShellContext } from "./replica-shell.ts";
import { UnsyncedGroups } from "./unsynced-groups.ts";

type EffectOf<K extends ReplicaEffect<RecordRef>["kind"]> = Extract<
  ReplicaEffect<RecordRef>,
  { kind: K }
>;

/** Kinds from 64 on are the cluster's; the account engine ignores them. */
export const newEpochKind = 64;

const newEpochOpId = opId("0".repeat(32));
const noHead = new Uint8Array(0);
const saveAgainMs = 1000;

export class LogShell {
  readonly pending: PendingEntries;
  readonly #shell: ReplicaShell;
  readonly #context: ShellContext;
  readonly #calls: ReplicaCalls;
  readonly #unsynced = new UnsyncedGroups();
  /** Set by the effects of the propose that is being stepped. */
  #proposed: PendingEntry | undefined;
  #refused: MailError | undefined;
  /** Entries up to here were applied, be they committed or not. */
  #shownLsn = 0;

  constructor(shell: ReplicaShell, context: ShellContext, calls: ReplicaCalls) {
    this.#shell = shell;
    this.#context = context;
    this.#calls = calls;
    this.pending = new PendingEntries(context.pendingBytes);
  }

  /** When the shard's oldest group that is not on disk was begun. */
  get unsyncedSinceMs(): number | undefined {
    return this.#unsynced.sinceMs;
  }

  expectProposal(): void {
    this.#proposed = undefined;
    this.#refused = undefined;
  }

  /** What the propose just stepped came to. */
  proposal(): PendingEntry {
    if (this.#refused !== undefined) throw this.#refused;
    assert(this.#proposed !== undefined, "a proposal is logged or refused");
    return this.#proposed;
  }

  refuse({ why, epoch }: EffectOf<"refuse">): void {
    const { shard } = this.#shell;
    if (why === "backlog") {
      this.#refused = new MailError({ code: "REPLICA_UNREACHABLE", shard });
    } else {
      const known = epoch === undefined ? {} : { epoch };
      this.#refused = new MailError({ code: "WRONG_NODE", shard, ...known });
    }
  }

  append(effect: EffectOf<"append">): void {
    const draft =
      effect.ref?.kind === "draft" ? effect.ref.draft : newEpochDraft(this.#shell.shard);
    const appended = this.#tryAppend(draft, effect.ref === undefined);
    if (appended === undefined) return;
    assert(appended.lsn === effect.lsn, "machine and log agree on the next lsn");
    assert(appended.epoch === effect.epoch, "machine and log agree on the epoch");
    const { kind, head, payload } = draft;
    this.#proposed = this.#logged(appended, { opId: draft.opId, kind, head, payload });
    const bytes = this.#proposed.bytes;
    const { lsn, hash } = appended;
    this.#shell.step({ kind: "logged", lsn, hash, bytes, nowMs: this.#nowMs });
  }

  /** False when the log has no room for the entry now. */
  appendRaw(entry: WireEntry<RecordRef>): boolean {
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
      this.#warnFull(error);
      this.#shell.step({ kind: "notLogged", tail: false, lsn: entry.lsn });
      return false;
    }
    assert(appended.hash === entry.hash, "machine and log agree on the hash");
    this.#logged(appended, { opId: raw.opId, kind: raw.kind, head: raw.head, payload });
    return true;
  }

  /** A group of the log is on disk; false when it has no entries of this shard. */
  durable(group: CommitGroup): boolean {
    const synced = this.#unsynced.synced(group);
    if (synced === undefined) return false;
    this.#context.synced(this.#nowMs - synced.sinceMs);
    this.#shell.step({ kind: "durable", tail: false, lsn: synced.lsn, hash: synced.hash });
    return true;
  }

  /** Applies and answers committed entries, in order; what was shown is applied already. */
  commit(through: Lsn): void {
    const { log, apply } = this.#context;
    const { shard } = this.#shell;
    const shown = this.#shownLsn;
    log.setCommitMark(shard, through);
    const waiters: (() => void)[] = [];
    for (
      let next = this.pending.shift(through);
      next !== undefined;
      next = this.pending.shift(through)
    ) {
      if (next.lsn > shown) apply(next.entry);
      if (next.waiter !== undefined) waiters.push(next.waiter.resolve);
    }
    log.setApplied(shard, through);
    this.#shell.step({ kind: "applied", lsn: through });
    for (const resolve of waiters) resolve();
    this.#calls.committed(through);
  }

  /** Applies what may have been acknowledged elsewhere: nobody here is answered yet. */
  show(from: Lsn, through: Lsn): void {
    for (const { entry } of this.pending.range(from, through)) this.#context.apply(entry);
    this.#shownLsn = through;
    this.#shell.step({ kind: "applied", lsn: through });
  }

  /** The entries that are to be cut, into a file of their own. */
  saveCut({ afterLsn, endLsn }: Pick<EffectOf<"saveCut">, "afterLsn" | "endLsn">): void {
    const { logger, clock } = this.#context;
    const { shard, state } = this.#shell;
    this.#context.saveCut(shard, this.pending.range(makeLsn(afterLsn + 1), endLsn)).then(
      () => {
        this.#shell.step({ kind: "cutSaved", afterLsn, endLsn });
        this.#context.dirty(this.#shell);
      },
      (error: unknown) => {
        logger.error({ shard, err: error }, "cut entries not saved");
        // The disk may be full: until it is not, nothing is cut.
        clock.after(saveAgainMs, () => {
          if (state.cuttingAfter !== afterLsn || tailEnd(state.tail) !== endLsn) return;
          this.saveCut({ afterLsn, endLsn });
        });
      },
    );
  }

  cut({ afterLsn, afterHash, endLsn }: EffectOf<"cut">): void {
    const { log, logger } = this.#context;
    const { shard } = this.#shell;
    logger.warn({ shard, afterLsn, endLsn }, "unacknowledged tail cut");
    this.#unsynced.cut(afterLsn, afterHash);
    for (const { waiter } of this.pending.cut(afterLsn)) waiter?.reject(unreachablePeer(shard));
    log.cut(shard, afterLsn, afterHash);
  }

  /** The log is void: the copy is made anew. */
  reset(): void {
    this.pending.clear();
    this.#shownLsn = 0;
  }

  /** The outcome of entries up to `through` is unknown to those who wait. */
  expire(through: Lsn): void {
    for (const waiter of this.pending.takeWaiters(through)) {
      waiter.reject(unreachablePeer(this.#shell.shard));
    }
  }

  stop(error: MailError): void {
    for (const waiter of this.pending.takeWaiters(makeLsn(Number.MAX_SAFE_INTEGER))) {
      waiter.reject(error);
    }
  }

  get #nowMs(): number {
    return this.#context.clock.monotonicMs();
  }

  /** NEWEPOCH has nobody to tell that the log is full: the machine tries again. */
  #tryAppend(draft: EntryDraft, isNewEpoch: boolean): Appended | undefined {
    try {
      return this.#context.log.append(draft);
    } catch (error) {
      if (!isNewEpoch || !(error instanceof MailError)) throw error;
      this.#warnFull(error);
      return undefined;
    }
  }

  #warnFull(error: MailError): void {
    const facts = { shard: this.#shell.shard, err: error };
    this.#context.logger.warn(facts, "log takes no entries now");
  }

  #logged(appended: Appended, what: Pick<Entry, "opId" | "kind" | "head" | "payload">) {
    const { lsn, epoch, hash, location, group, parts } = appended;
    const entry: Entry = { shard: this.#shell.shard, lsn, epoch, location, ...what };
    let bytes = 0;
    for (const part of parts) bytes += part.byteLength;
    const pending: PendingEntry = { lsn, entry, hash, parts, bytes, waiter: undefined };
    this.pending.push(pending);
    this.#unsynced.appended(group, lsn, hash, this.#nowMs);
    return pending;
  }
}

function unreachablePeer(shard: ShardId): MailError {
  return new MailError({ code: "REPLICA_UNREACHABLE", shard });
}

function newEpochDraft(shard: ShardId): EntryDraft {
  return { shard, opId: newEpochOpId, kind: newEpochKind, head: noHead, payload: undefined };
}
