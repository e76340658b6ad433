// The tail-first log of one shard: performs the machine's effects on the segment log's tails, and reads
// the tail back for a copy that is made one with it. Rules are in protocol/replica-secondary.ts and
// replica-graft.ts.

import { assert } from "../../lib/assert.ts";
import { MailError } from "../../mail/errors.ts";
import { lsn as makeLsn } from "../../mail/ids.ts";
import { decodeEntry } from "../../store/log/record.ts";
import type { CommitGroup } from "../../store/log/types.ts";
import type { ReplicaEffect, WireEntry } from "../protocol/replica-types.ts";
import type { RecordRef, ReplicaShell, ShellContext } from "./replica-shell.ts";
import { shipBytesMax } from "./replica-wire.ts";
import { UnsyncedGroups } from "./unsynced-groups.ts";

type SendPulled = Extract<ReplicaEffect<RecordRef>, { kind: "sendPulled" }>;

export class TailShell {
  readonly #shell: ReplicaShell;
  readonly #context: ShellContext;
  readonly #unsynced = new UnsyncedGroups();

  constructor(shell: ReplicaShell, context: ShellContext) {
    this.#shell = shell;
    this.#context = context;
  }

  /** False when the log has no room for the entry now. */
  append(entry: WireEntry<RecordRef>): boolean {
    assert(entry.ref.kind === "raw", "entries of the wire come as records");
    const { record, raw } = entry.ref;
    try {
      const { group, lsn, hash } = this.#context.log.tails.append(record, raw);
      this.#unsynced.appended(group, lsn, hash, this.#context.clock.monotonicMs());
      return true;
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      assert(
        error.code !== "CONFLICT" && error.code !== "INVALID",
        "the machine checked the entry",
      );
      const { shard } = this.#shell;
      this.#context.logger.warn({ shard, err: error }, "log takes no entries now");
      this.#shell.step({ kind: "notLogged", tail: true, lsn: entry.lsn });
      return false;
    }
  }

  /** A group of the log with entries of this tail is on disk. */
  durable(group: CommitGroup): void {
    const synced = this.#unsynced.synced(group);
    if (synced === undefined) return;
    this.#shell.step({ kind: "durable", tail: true, lsn: synced.lsn, hash: synced.hash });
  }

  /** Void whatever it held. */
  start({ afterLsn, afterHash }: Extract<ReplicaEffect<RecordRef>, { kind: "startTail" }>): void {
    this.#unsynced.clear();
    this.#context.log.tails.start(this.#shell.shard, afterLsn, afterHash);
  }

  cut({ afterLsn, afterHash, endLsn }: Extract<ReplicaEffect<RecordRef>, { kind: "cut" }>): void {
    const { shard } = this.#shell;
    this.#context.logger.warn({ shard, tail: true, afterLsn, endLsn }, "unacknowledged tail cut");
    this.#unsynced.cut(afterLsn, afterHash);
    this.#context.log.tails.cut(this.#shell.shard, afterLsn, afterHash);
  }

  drop(): void {
    this.#unsynced.clear();
    this.#context.log.tails.drop(this.#shell.shard);
  }

  send(effect: SendPulled): void {
    this.#read(effect).then(
      () => undefined,
      (error: unknown) => {
        const facts = { shard: this.#shell.shard, to: effect.to, err: error };
        this.#context.logger.error(facts, "a tail can't be read");
      },
    );
  }

  async #read({ to, toInc, epoch, fromLsn, throughLsn }: SendPulled): Promise<void> {
    const { shard, state } = this.#shell;
    const read = await this.#context.log.tails.read(shard, fromLsn, shipBytesMax);
    if (read.kind === "pruned") return;
    const entries = read.records.flatMap((record) => {
      const raw = decodeEntry(record);
      assert(raw !== undefined, "the log hands out records that decode");
      return raw.lsn > throughLsn ? [] : [{ raw, record }];
    });
    const first = entries[0];
    if (first === undefined) return;
    const at = { prevLsn: makeLsn(fromLsn - 1), prevHash: first.raw.prevHash };
    const base = { epoch, fromInc: state.inc, toInc, tail: true };
    if (to !== state.me.node) {
      const shipments = entries.map(({ raw: { lsn, hash }, record }) => {
        return { lsn, hash, parts: [record] };
      });
      this.#context
        .outbox(to)
        .addAppend("pulled", shard, base, { ...at, mark: makeLsn(0) }, shipments);
    } else {
      const own = entries.map(({ raw, record }) => this.#own(raw, record));
      const nowMs = this.#context.clock.monotonicMs();
      const message = { kind: "pulled", ...base, ...at, entries: own } as const;
      this.#shell.step({ kind: "message", from: to, message, nowMs });
    }
    this.#context.dirty(this.#shell);
  }

  /** An entry of our own tail: its blobs were complete before it was acknowledged. */
  #own(raw: Extract<RecordRef, { kind: "raw" }>["raw"], record: Uint8Array): WireEntry<RecordRef> {
    const { lsn, epoch, hash, prevHash } = raw;
    const { payload } = this.#context.inspect(raw);
    const ref = { kind: "raw", record, raw, payload } as const;
    return { lsn, epoch, hash, prevHash, missing: [], ref };
  }
}
