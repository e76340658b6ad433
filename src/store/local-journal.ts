// The journal of a store without secondaries: what is on this disk is committed. Used by the
// single-node store, by tests and tools. Deduplication is the account engine's.

import { assert } from "../lib/assert.ts";
import { MailError } from "../mail/errors.ts";
import { epoch, type Lsn, lsn, type ShardId } from "../mail/ids.ts";
import type { Apply, Entry, EntryDraft, Journal } from "./journal.ts";
import { decodeEntry } from "./log/record.ts";
import type { CommitGroup, SegmentLog } from "./log/types.ts";

const readBytesMax = 1_048_576;

interface Pending {
  readonly entry: Entry;
  readonly group: CommitGroup;
}

export class LocalJournal implements Journal {
  readonly #log: SegmentLog;
  readonly #apply: Apply;
  readonly #shards: ReadonlySet<ShardId>;
  /** Appended and not yet durable, in log order. */
  #pending: Pending[] = [];
  #failed = false;

  private constructor(log: SegmentLog, shards: readonly ShardId[], apply: Apply) {
    this.#log = log;
    this.#apply = apply;
    this.#shards = new Set(shards);
    log.onDurable((group) => this.#onDurable(group));
  }

  /**
   * Takes over an opened log for `shards`: what lies durable above their commit marks is applied,
   * as it may have been acknowledged. Shards that never had a configuration get epoch 1.
   */
  static async open(
    log: SegmentLog,
    shards: readonly ShardId[],
    apply: Apply,
  ): Promise<LocalJournal> {
    for (const shard of shards) {
      if (log.state(shard).damaged) continue;
      await applyTail(log, shard, apply);
      const { epoch: now, sealedEpoch } = log.state(shard);
      if (now > 0) continue;
      const config = new Uint8Array(0);
      await log.writeConfig(shard, { epoch: epoch(1), sealedEpoch, config }).durable;
    }
    return new LocalJournal(log, shards, apply);
  }

  propose(draft: EntryDraft): { readonly lsn: Lsn; readonly committed: Promise<void> } {
    if (!this.#shards.has(draft.shard)) {
      throw new MailError({ code: "WRONG_NODE", shard: draft.shard });
    }
    const { lsn: at, epoch: inEpoch, location, group } = this.#log.append(draft);
    const { shard, opId, kind, head, payload } = draft;
    const entry = { shard, lsn: at, epoch: inEpoch, opId, kind, head, payload, location };
    this.#pending.push({ entry, group });
    return { lsn: at, committed: group.durable };
  }

  serves(shard: ShardId): boolean {
    return !this.#failed && this.#shards.has(shard) && !this.#log.state(shard).damaged;
  }

  /** The log has failed: nothing is served from here on. */
  fail(): void {
    this.#failed = true;
  }

  #onDurable(group: CommitGroup): void {
    let done = 0;
    for (const { entry, group: of } of this.#pending) {
      if (of !== group) break;
      done += 1;
      this.#apply(entry);
    }
    this.#pending = this.#pending.slice(done);
    for (const [shard, mark] of group.marks) {
      this.#log.setCommitMark(shard, mark);
      this.#log.setApplied(shard, mark);
    }
  }
}

async function applyTail(log: SegmentLog, shard: ShardId, apply: Apply): Promise<void> {
  const { commitMark, lastLsn } = log.state(shard);
  for (let next = lsn(commitMark + 1); next <= lastLsn; ) {
    const read = await log.readEntries(shard, next, readBytesMax);
    assert(read.kind === "entries" && read.records.length > 0, "the tail is in the log");
    for (const record of read.records) {
      const entry = decodeEntry(record);
      const location = await log.locate(shard, next);
      assert(entry?.lsn === next && location !== undefined, "entries are read back in order");
      const { epoch: inEpoch, opId, kind, head } = entry;
      apply({ shard, lsn: next, epoch: inEpoch, opId, kind, head, location });
      next = lsn(next + 1);
    }
  }
  if (lastLsn === commitMark) return;
  log.setCommitMark(shard, lastLsn);
  log.setApplied(shard, lastLsn);
}
