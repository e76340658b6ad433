// Work that follows deletion, on each node for itself and at leisure: rows of messages of deleted
// mailboxes, and outcomes older than a day. Everything here may be done twice or break off anywhere.

import { accountId, mailboxId } from "../mail/ids.ts";
import type { AccountId, MailboxId, ShardId } from "../mail/ids.ts";
import { loadSummary } from "./blocks.ts";
import type { Engine } from "./engine.ts";
import {
  accountInKey,
  accountKey,
  afterPrefix,
  mailboxKey,
  ownerKey,
  shardKey,
  shardTable,
  space,
  table,
} from "./keyspace.ts";
import { emptyRow, openRow } from "./row.ts";

const batchRows = 500;

/** Sweeps all mailboxes deleted since the last time. Returns how many. */
export async function sweepGone(engine: Engine, signal: AbortSignal): Promise<number> {
  let swept = 0;
  const prefix = Buffer.from([space.gone]);
  for await (const rows of engine.rows.range(prefix, afterPrefix(prefix))) {
    for (const [key] of rows) {
      signal.throwIfAborted();
      await sweepMailbox(engine, accountId(accountInKey(key, 1)), mailboxId(key.readUInt32BE(9)));
      engine.rows.del(key);
      swept++;
    }
  }
  return swept;
}

/** Deletes outcomes that no retry can ask for any more. Returns how many. */
export async function sweepOutcomes(
  engine: Engine,
  shards: Iterable<ShardId>,
  signal: AbortSignal,
): Promise<number> {
  const keptMs = engine.limits.outcomeKeptMs;
  let swept = 0;
  for (const shard of shards) {
    const prefix = shardKey(shard, shardTable.account);
    for await (const accounts of engine.rows.range(prefix, afterPrefix(prefix))) {
      for (const [key] of accounts) {
        const account = accountId(accountInKey(key, 4));
        const from = accountKey(account, table.outcome);
        const end = accountKey(account, table.delivery + 1);
        for await (const rows of engine.rows.range(from, end, batchRows)) {
          signal.throwIfAborted();
          for (const [row, value] of rows) {
            if (engine.ageMs(shard, openRow(row, value).f64()) <= keptMs) continue;
            engine.rows.del(row);
            swept++;
          }
          if (engine.rows.full) await engine.rows.room();
        }
      }
    }
  }
  return swept;
}

/** The owners of its bodies first: once the blocks are gone nobody knows them. */
async function sweepMailbox(engine: Engine, account: AccountId, mailbox: MailboxId): Promise<void> {
  const { rows } = engine;
  const { columns } = await loadSummary(rows, account, mailbox);
  for (let at = 0; at < columns.count; at++) {
    const tag = columns.bodyTag[at] ?? 0;
    const lsn = columns.bodyLsn[at] ?? 0;
    rows.del(ownerKey(tag, lsn, account, mailbox, columns.uid[at] ?? 0));
    const trace = ownerKey(tag, lsn, account, 0, 0);
    rows.put(trace, emptyRow(trace));
    if (at % batchRows === 0 && rows.full) await rows.room();
  }
  await rows.drained();
  const tables = [table.keywords, table.block, table.fold, table.change, table.vanished];
  for (const which of [...tables, table.page, table.pages, table.annotation, table.counters]) {
    const prefix = mailboxKey(account, which, mailbox);
    for await (const found of rows.range(prefix, afterPrefix(prefix), batchRows)) {
      for (const [key] of found) rows.del(key);
      if (rows.full) await rows.room();
    }
  }
}
