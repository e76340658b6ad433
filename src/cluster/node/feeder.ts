// Catch-up of one shard's secondaries from the log: reads runs of entries and hands them to the
// link, one run at a time per secondary. What to feed and when is the machine's decision.

import type { Lsn } from "../../mail/ids.ts";
import { lsn as makeLsn } from "../../mail/ids.ts";
import { decodeEntry } from "../../store/log/record.ts";
import type { ReplicaEffect } from "../protocol/replica-types.ts";
import type { Shipment } from "./outbox.ts";
import type { RecordRef, ReplicaShell, ShellContext } from "./replica-shell.ts";
import { shipBytesMax } from "./replica-wire.ts";

type Feed = Extract<ReplicaEffect<RecordRef>, { kind: "feed" }>;
type SendBlobs = Extract<ReplicaEffect<RecordRef>, { kind: "sendBlobs" }>;

export class Feeder {
  readonly #shell: ReplicaShell;
  readonly #context: ShellContext;
  /** Feeds whose entries are not on our own disk yet. */
  #waiting: Feed[] = [];

  constructor(shell: ReplicaShell, context: ShellContext) {
    this.#shell = shell;
    this.#context = context;
  }

  feed(effect: Feed): void {
    this.#read(effect).then(
      () => undefined,
      (error: unknown) => {
        const facts = { shard: this.#shell.shard, to: effect.to, err: error };
        this.#context.logger.error(facts, "catch-up can't read the log");
        const { to, toInc, tail } = effect;
        this.#done({ kind: "feedGone", to, toInc, tail });
      },
    );
  }

  /** More of the shard's log is on disk. */
  durable(): void {
    for (const effect of this.#waiting.splice(0)) this.feed(effect);
  }

  sendBlobs(effect: SendBlobs): void {
    const { to, toInc, tail, blobs } = effect;
    const { shard } = this.#shell;
    this.#context.sendBlobs(to, shard, blobs).then(
      () => {
        const nowMs = this.#context.clock.monotonicMs();
        this.#done({ kind: "blobsSent", to, toInc, tail, nowMs });
      },
      (error: unknown) => this.#context.logger.error({ shard, to, err: error }, "blobs not sent"),
    );
  }

  async #read(effect: Feed): Promise<void> {
    const { to, toInc, tail, epoch, fromLsn, throughLsn, mark } = effect;
    const { shard, state } = this.#shell;
    const read = await this.#context.log.readEntries(shard, fromLsn, shipBytesMax);
    if (read.kind === "pruned") {
      this.#done({ kind: "feedGone", to, toInc, tail });
      return;
    }
    const entries = decodeRun(read.records, throughLsn);
    const first = entries[0];
    const last = entries.at(-1);
    if (first === undefined || last === undefined) {
      this.#waiting.push(effect);
      return;
    }
    if (state.config?.epoch === epoch) {
      const at = { prevLsn: makeLsn(fromLsn - 1), prevHash: first.prevHash, mark };
      const base = { epoch, fromInc: state.inc, toInc, tail };
      this.#context.outbox(to).addAppend("append", shard, base, at, entries);
    }
    const nowMs = this.#context.clock.monotonicMs();
    this.#done({ kind: "fed", to, toInc, tail, throughLsn: last.lsn, nowMs });
  }

  #done(event: Parameters<ReplicaShell["step"]>[0]): void {
    this.#shell.step(event);
    this.#context.dirty(this.#shell);
  }
}

/** Entries up to `through`. @throws {Error} when a record of our own log does not decode. */
function decodeRun(
  records: readonly Uint8Array[],
  through: Lsn,
): readonly (Shipment & { readonly prevHash: number })[] {
  const entries = [];
  for (const record of records) {
    const raw = decodeEntry(record);
    if (raw === undefined) throw new Error("a record of the log does not decode");
    if (raw.lsn > through) break;
    entries.push({ lsn: raw.lsn, hash: raw.hash, prevHash: raw.prevHash, parts: [record] });
  }
  return entries;
}
