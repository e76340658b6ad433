// What a node says of its own copies when an operator must decide: how far each reaches, whether it can
// be used, the configuration that it holds on its disk. Asked by force-promote and recover.

import { lsn, memberId, shardId, shardMax, storeId } from "../../mail/ids.ts";
import type { Lsn, MemberId, ShardId } from "../../mail/ids.ts";
import { decodePayload } from "../../store/entry-codec.ts";
import { decodeEntry } from "../../store/log/record.ts";
import type { SegmentLog } from "../../store/log/types.ts";
import type { Links, RpcRegistry } from "../link/rpc.ts";
import { tailEnd } from "../protocol/hash-tail.ts";
import type { Copy, ShardConfig } from "../protocol/shard-config.ts";
import { asArray, asBoolean, asCount, asListOf, asOptional, asText } from "./decode.ts";
import type { ReplicatedJournal } from "./replicated-journal.ts";
import { decodeShardConfig, encodeShardConfig } from "./shard-codec.ts";

export interface CopyFacts {
  readonly shard: ShardId;
  readonly copy: Copy;
  /** The newest configuration on its disk. */
  readonly config: ShardConfig | undefined;
  /** End of the copy's own log; what is behind a hole is not counted. */
  readonly lastLsn: Lsn;
  /** End of the tail that it keeps until its own log has caught up. */
  readonly tailLsn: Lsn | undefined;
  /** False: damaged, being made anew, or empty. */
  readonly usable: boolean;
  /** When its newest change was made, Unix milliseconds; undefined: not told, or not known. */
  readonly newestMs: number | undefined;
}

const method = "shard.inspect";
const pageMax = 128;
const deadlineMs = 5000;
/** So many entries from the end are looked at for a time. */
const entriesMax = 64;
const readBytes = 1024 * 1024;

/** A node's side. Call before links are accepted. */
export function answerInspect(
  registry: RpcRegistry,
  me: Copy,
  journal: ReplicatedJournal,
  log: SegmentLog,
): void {
  registry.onCall(method, async ({ head }) => {
    const fields = asArray(head, "inspect");
    const from = asCount(fields[0], "shard", shardMax + 1);
    const alone = asBoolean(fields[1], "inspect");
    const shells = journal
      .replicas()
      .filter(({ shard }) => (alone ? shard === from : shard >= from))
      .toSorted((a, b) => a.shard - b.shard)
      .slice(0, pageMax);
    const facts: unknown[] = [];
    for (const { shard, state } of shells) {
      const { config, tail, first, damaged, copying } = state;
      const lastLsn = tailEnd(tail);
      const usable = !damaged && !copying && lastLsn > 0;
      facts.push([
        shard,
        config === undefined ? null : encodeShardConfig(config),
        lastLsn,
        first === undefined ? null : tailEnd(first.tail),
        usable,
        alone && usable ? ((await newestMs(log, shard, lastLsn)) ?? null) : null,
      ]);
    }
    return { head: [me.node, me.store, facts] };
  });
}

/** Time of the newest change among the last entries. */
async function newestMs(log: SegmentLog, shard: ShardId, end: Lsn): Promise<number | undefined> {
  const from = lsn(Math.max(1, end - entriesMax + 1));
  const read = await log.readEntries(shard, from, readBytes);
  if (read.kind !== "entries") return undefined;
  let newest: number | undefined;
  for (const record of read.records) {
    const raw = decodeEntry(record);
    const payload = raw === undefined ? undefined : decodePayload(raw.kind, raw.head);
    if (payload?.kind === "deliver") newest = payload.deliver.timeMs;
    if (payload?.kind === "change") newest = payload.change.timeMs;
  }
  return newest;
}

/** One copy; undefined when that node has none. @throws {MailError} UNAVAILABLE, INVALID */
export async function inspectCopy(
  links: Links,
  node: MemberId,
  shard: ShardId,
  signal: AbortSignal,
): Promise<CopyFacts | undefined> {
  const { head } = await links.peer(node).call(method, [shard, true], { signal, deadlineMs });
  return decodeFacts(head)[0];
}

/** All copies of a node. @throws {MailError} UNAVAILABLE, INVALID */
export async function inspectAll(
  links: Links,
  node: MemberId,
  signal: AbortSignal,
): Promise<readonly CopyFacts[]> {
  const all: CopyFacts[] = [];
  for (let from = 0; ; ) {
    const { head } = await links.peer(node).call(method, [from, false], { signal, deadlineMs });
    const page = decodeFacts(head);
    all.push(...page);
    const last = page.at(-1);
    if (last === undefined || page.length < pageMax) return all;
    from = last.shard + 1;
  }
}

function decodeFacts(head: unknown): readonly CopyFacts[] {
  const fields = asArray(head, "copies");
  const copy = {
    node: memberId(asText(fields[0], "node", 32)),
    store: storeId(asText(fields[1], "store", 32)),
  };
  return asListOf(fields[2], "copies", (value) => {
    const one = asArray(value, "copy");
    const config = asOptional(one[1], "config", asText);
    const tailLsn = asOptional(one[3], "lsn", asCount);
    return {
      shard: shardId(asCount(one[0], "shard", shardMax)),
      copy,
      config: config === undefined ? undefined : decodeShardConfig(config),
      lastLsn: lsn(asCount(one[2], "lsn")),
      tailLsn: tailLsn === undefined ? undefined : lsn(tailLsn),
      usable: asBoolean(one[4], "copy"),
      newestMs: asOptional(one[5], "time", asCount),
    };
  });
}
