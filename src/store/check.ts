// Whether what the index says is true (the command `pabal check`): checksums of all rows, counters and
// quota against the messages, each message's static row, owner and body. Reads only; repair is from the peer.

import { MailError } from "../mail/errors.ts";
import { accountId } from "../mail/ids.ts";
import type { AccountId, ShardId } from "../mail/ids.ts";
import type { AccountState } from "./account-state.ts";
import { readBodies } from "./bodies.ts";
import type { Columns } from "./columns.ts";
import type { Engine } from "./engine.ts";
import type { Counters } from "./entry-kind.ts";
import { deletedBit, seenBit } from "./flags.ts";
import {
  accountInKey,
  afterPrefix,
  bodyKey,
  ownerKey,
  shardKey,
  shardTable,
  staticKey,
} from "./keyspace.ts";
import type { LogDamage } from "./log/types.ts";
import type { MailboxState, MailboxSummary } from "./mailbox-state.ts";
import { rowIsSound } from "./row.ts";

/** Something that is not as it should be. */
export type Finding =
  | { readonly kind: "log"; readonly damage: LogDamage }
  | { readonly kind: "row"; readonly key: string }
  | {
      readonly kind: "counters";
      readonly account: AccountId;
      readonly mailbox: string;
      readonly what: string;
    }
  | { readonly kind: "quota"; readonly account: AccountId }
  | {
      readonly kind: "message";
      readonly account: AccountId;
      readonly mailbox: string;
      readonly uid: number;
      readonly what: "static row" | "owner" | "place" | "bytes";
    };

export interface CheckOptions {
  readonly shards: readonly ShardId[];
  readonly damage: readonly LogDamage[];
  /** Read every body, too. */
  readonly bodies: boolean;
}

const batchMessages = 256;
const blobReadBytes = 1_048_576;

/** What is wrong, as it is found. Nothing: all is well. The store must not be in use. */
export async function* checkStore(
  engine: Engine,
  options: CheckOptions,
  signal: AbortSignal,
): AsyncGenerator<Finding> {
  for (const damage of options.damage) yield { kind: "log", damage };
  const badRows = yield* checkRows(engine, signal);
  // Reading on over rows that are broken would only fail at the first of them.
  if (badRows > 0) return;
  for (const shard of options.shards) {
    for await (const id of accountsOf(engine, shard)) {
      signal.throwIfAborted();
      const pinned = engine.accounts.pin(id);
      const account = pinned instanceof Promise ? await pinned : pinned;
      if (account === undefined) continue;
      try {
        yield* checkAccount(engine, account, options);
      } finally {
        account.pins--;
      }
    }
  }
}

async function* checkRows(engine: Engine, signal: AbortSignal): AsyncGenerator<Finding, number> {
  let bad = 0;
  for await (const rows of engine.rows.range(Buffer.alloc(0), Buffer.from([0xff]))) {
    signal.throwIfAborted();
    for (const [key, value] of rows) {
      if (rowIsSound(key, value)) continue;
      bad++;
      yield { kind: "row", key: key.toString("hex") };
    }
  }
  return bad;
}

/** The accounts of a shard, deleted ones too. */
export async function* accountsOf(engine: Engine, shard: ShardId): AsyncGenerator<AccountId> {
  const prefix = shardKey(shard, shardTable.account);
  for await (const rows of engine.rows.range(prefix, afterPrefix(prefix))) {
    for (const [key] of rows) yield accountId(accountInKey(key, 4));
  }
}

async function* checkAccount(
  engine: Engine,
  account: AccountState,
  options: CheckOptions,
): AsyncGenerator<Finding> {
  let bytes = 0;
  let messages = 0;
  for (const mailbox of account.mailboxes.values()) {
    const summary = await engine.accounts.pinSummary(account, mailbox);
    try {
      const counted = countersOf(mailbox.counters, summary.columns);
      bytes += counted.sizeBytes;
      messages += counted.messages;
      for (const what of countedFields) {
        if (counted[what] !== mailbox.counters[what]) {
          yield { kind: "counters", account: account.id, mailbox: mailbox.name, what };
        }
      }
      yield* checkMessages(engine, account, mailbox, summary, options);
    } finally {
      summary.pins--;
    }
  }
  if (bytes !== account.quota.bytes || messages !== account.quota.messages) {
    yield { kind: "quota", account: account.id };
  }
}

/** Counters that follow from the messages. */
export const countedFields = [
  "messages",
  "unseen",
  "deleted",
  "sizeBytes",
  "uidNext",
  "modSeq",
] as const satisfies readonly (keyof Counters)[];

/** The counters as the messages have them; UIDNEXT and MODSEQ may be higher, but never lower. */
export function countersOf(counters: Counters, columns: Columns): Counters {
  let unseen = 0;
  let deleted = 0;
  let sizeBytes = 0;
  let { uidNext, modSeq } = counters;
  for (let at = 0; at < columns.count; at++) {
    const flags = columns.flags[at] ?? 0;
    if ((flags & seenBit) === 0) unseen++;
    if ((flags & deletedBit) !== 0) deleted++;
    sizeBytes += columns.size[at] ?? 0;
    uidNext = Math.max(uidNext, (columns.uid[at] ?? 0) + 1);
    modSeq = Math.max(modSeq, columns.modSeq[at] ?? 0);
  }
  const messages = columns.count;
  return { ...counters, messages, unseen, deleted, sizeBytes, uidNext, modSeq };
}

async function* checkMessages(
  engine: Engine,
  account: AccountState,
  mailbox: MailboxState,
  { columns }: MailboxSummary,
  options: CheckOptions,
): AsyncGenerator<Finding> {
  const about = { kind: "message", account: account.id, mailbox: mailbox.name } as const;
  for (let from = 0; from < columns.count; from += batchMessages) {
    const rows = Array.from({ length: Math.min(batchMessages, columns.count - from) }, (_, at) =>
      columns.row(from + at),
    );
    const keys = rows.flatMap(({ uid, bodyTag, bodyLsn }) => [
      staticKey(account.id, bodyTag, bodyLsn),
      ownerKey(bodyTag, bodyLsn, account.id, mailbox.id, uid),
      bodyKey(bodyTag, bodyLsn),
    ]);
    const values = await engine.rows.getMany(keys);
    for (const [at, { uid, bodyTag, bodyLsn }] of rows.entries()) {
      if (values[at * 3] === undefined) yield { ...about, uid, what: "static row" };
      if (values[at * 3 + 1] === undefined) yield { ...about, uid, what: "owner" };
      if (values[at * 3 + 2] === undefined) {
        yield { ...about, uid, what: "place" };
        continue;
      }
      if (!options.bodies) continue;
      try {
        const name = { tag: bodyTag, lsn: bodyLsn };
        const [body] = await readBodies(engine, columns, [uid], [name]);
        if (body?.kind !== "blob") continue;
        for (let from = 0; from < body.length; from += blobReadBytes) {
          await engine.bodies.readBlob(body.id, from, Math.min(blobReadBytes, body.length - from));
        }
      } catch (error) {
        if (!(error instanceof MailError)) throw error;
        yield { ...about, uid, what: "bytes" };
      }
    }
  }
}
