// Shared by the log's tests: a log on a simulated disk, and a ledger of what was acknowledged.

import type { Disk } from "../../../src/lib/disk.ts";
import { SeededRandom } from "../../../src/lib/random.ts";
import { SimulatedClock } from "../../../src/lib/simulated-clock.ts";
import { opIdMaker } from "../../../src/lib/id-maker.ts";
import { epoch, opId, shardId, storeId, type ShardId } from "../../../src/mail/ids.ts";
import type { Entry, EntryDraft } from "../../../src/store/journal.ts";
import { openSegmentLog } from "../../../src/store/log/segment-log.ts";
import type { SegmentLog, SegmentLogOptions } from "../../../src/store/log/types.ts";

export const store = storeId("ab".repeat(16));
export const noFlush = async (): Promise<void> => undefined;

export interface Opened {
  readonly log: SegmentLog;
  /** What recovery handed to `apply`. */
  readonly applied: Entry[];
  readonly fatal: unknown[];
}

export async function open(disk: Disk, options: Partial<SegmentLogOptions> = {}): Promise<Opened> {
  const applied: Entry[] = [];
  const fatal: unknown[] = [];
  const log = await openSegmentLog(disk, "log", {
    storeId: store,
    clock: new SimulatedClock(),
    random: new SeededRandom(7),
    apply: (entry) => {
      applied.push(entry);
    },
    flush: noFlush,
    onFatal: (error) => fatal.push(error),
    ...options,
  });
  return { log, applied, fatal };
}

const nextOpId = opIdMaker(new SeededRandom(3));

export function draft(shard: number | ShardId, text: string, bodyBytes = 0): EntryDraft {
  const random = new SeededRandom(text.length * 1000 + bodyBytes);
  const base = {
    shard: shardId(shard),
    opId: opId(nextOpId()),
    kind: 9,
    head: Buffer.from(text),
    payload: text,
  };
  return bodyBytes === 0 ? base : { ...base, body: random.bytes(bodyBytes) };
}

export function textOf(entry: { readonly head: Uint8Array }): string {
  return Buffer.from(entry.head).toString();
}

/** Gives shards 0..count-1 their first configuration. */
export async function configure(log: SegmentLog, count: number): Promise<void> {
  for (let shard = 0; shard < count; shard++) {
    const config = Buffer.from(`config of ${shard}`);
    const group = log.writeConfig(shardId(shard), {
      epoch: epoch(1),
      sealedEpoch: epoch(0),
      config,
    });
    await group.durable;
  }
}
