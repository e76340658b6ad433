// Packed summary blocks on disk and the change rows above them: loading a mailbox's summary, and
// folding the change rows into the blocks. Both forms are derived from the log and local to this node.

import type { UidSet } from "../mail/uid-set.ts";
import type { AccountId, MailboxId } from "../mail/ids.ts";
import type { ByteReader } from "./byte-reader.ts";
import { Columns } from "./columns.ts";
import { KeywordSets } from "./flags.ts";
import type { FlagGroup, MessageRow } from "./entry-kind.ts";
import {
  afterPrefix,
  mailboxItemKey,
  mailboxKey,
  modSeqKey,
  modSeqOfKey,
  table,
} from "./keyspace.ts";
import { addCost, MailboxSummary } from "./mailbox-state.ts";
import { beginRow, endRow, openRow } from "./row.ts";
import { putFold, readChange, readKeywords } from "./rows.ts";
import type { ChangeRow } from "./rows.ts";
import type { RowReader } from "./row-reader.ts";
import { readPageList } from "./static-page.ts";
import type { WriteQueue } from "./write-queue.ts";

const messagesPerBlock = 1024;

/** Reads a mailbox's summary: blocks, then everything above them in order of MODSEQ. */
export async function loadSummary(
  queue: RowReader,
  account: AccountId,
  mailbox: MailboxId,
): Promise<MailboxSummary> {
  const keywords = new KeywordSets();
  await eachRow(queue, mailboxKey(account, table.keywords, mailbox), (key, reader) => {
    keywords.add(readKeywords(key, reader));
  });
  const foldKey = mailboxKey(account, table.fold, mailbox);
  const foldRow = await queue.get(foldKey);
  const fold = foldRow === undefined ? 0 : openRow(foldKey, foldRow).varint();
  const columns = new Columns();
  const blocks: number[] = [];
  await eachRow(queue, mailboxKey(account, table.block, mailbox), (key, reader) => {
    blocks.push(key.readUInt32BE(14));
    readBlock(columns, reader);
  });
  const changes: [number, ChangeRow][] = [];
  await eachRow(queue, mailboxKey(account, table.change, mailbox), (key, reader) => {
    changes.push([modSeqOfKey(key), readChange(reader)]);
  });
  // Also rows below the fold count: after a power loss LevelDB may have the newer of two folds without
  // the older one. All rows from the first on are there then, undeleted or replayed, and in their order
  // they lead from any mixture of older and newer blocks to the present.
  const base = Math.min(fold, (changes[0]?.[0] ?? Number.POSITIVE_INFINITY) - 1);
  const vanished: [number, UidSet][] = [];
  await eachRow(
    queue,
    mailboxKey(account, table.vanished, mailbox),
    (key, reader) => {
      vanished.push([modSeqOfKey(key), reader.varints()]);
    },
    modSeqKey(account, table.vanished, mailbox, base + 1),
  );
  const summary = new MailboxSummary(columns, keywords, base, blocks, base);
  rollForward(summary, changes, vanished);
  summary.pages = await readPageList(queue, account, mailbox);
  return summary;
}

/** Writes dirty blocks and drops the change rows they now hold: one LevelDB batch. */
export function fold(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  summary: MailboxSummary,
  highestModSeq: number,
): void {
  if (summary.dirtyBlocks.size > 0) foldBlocks(queue, account, mailbox, summary);
  for (let modSeq = summary.foldModSeq + 1; modSeq <= highestModSeq; modSeq++) {
    queue.del(modSeqKey(account, table.change, mailbox, modSeq));
  }
  putFold(queue, account, mailbox, highestModSeq);
  summary.foldModSeq = highestModSeq;
  summary.replayCost = 0;
}

/** Sets the flags of groups at a MODSEQ; messages that are gone are passed over. */
export function setFlagGroups(
  summary: MailboxSummary,
  groups: readonly FlagGroup[],
  modSeq: number,
): void {
  const { columns } = summary;
  for (const { flags, uids } of groups) {
    let nextBlock = 0;
    summary.replayCost += uids.length;
    for (let i = 0; i < uids.length; i += 2) {
      const high = uids[i + 1] ?? 0;
      for (let at = columns.lowerBound(uids[i] ?? 0); at < columns.count; at++) {
        const uid = columns.uid[at] ?? 0;
        if (uid > high) break;
        columns.flags[at] = flags;
        columns.modSeq[at] = modSeq;
        summary.replayCost++;
        if (uid >= nextBlock) nextBlock = summary.touch(uid);
      }
    }
  }
}

/** Adds a message. */
export function putMessage(summary: MailboxSummary, row: MessageRow): void {
  summary.columns.put(row);
  summary.touch(row.uid);
  summary.replayCost += addCost;
}

/** Takes messages out and remembers that they went. */
export function removeUids(summary: MailboxSummary, uids: UidSet, modSeq: number): void {
  const present = presentUids(summary.columns, uids);
  let nextBlock = 0;
  for (const uid of present) if (uid >= nextBlock) nextBlock = summary.touch(uid);
  summary.replayCost += present.length;
  summary.columns.remove(present);
  summary.pageLosses += present.length;
  summary.noteVanished({ modSeq, uids });
}

function rollForward(
  summary: MailboxSummary,
  changes: readonly (readonly [number, ChangeRow])[],
  vanished: readonly (readonly [number, UidSet])[],
): void {
  let next = 0;
  const removeUpTo = (limit: number): void => {
    for (; next < vanished.length; next++) {
      const [modSeq, uids] = vanished[next] ?? [0, []];
      if (modSeq > limit) return;
      removeUids(summary, uids, modSeq);
    }
  };
  for (const [modSeq, change] of changes) {
    removeUpTo(modSeq);
    if (change.kind === "flags") setFlagGroups(summary, change.groups, modSeq);
    else if (change.kind === "add") {
      for (const row of change.messages) {
        putMessage(summary, row);
      }
    }
  }
  removeUpTo(Number.MAX_SAFE_INTEGER);
}

function presentUids(columns: Columns, uids: UidSet): number[] {
  const found: number[] = [];
  for (let i = 0; i < uids.length; i += 2) {
    const high = uids[i + 1] ?? 0;
    for (let at = columns.lowerBound(uids[i] ?? 0); at < columns.count; at++) {
      const uid = columns.uid[at] ?? 0;
      if (uid > high) break;
      found.push(uid);
    }
  }
  return found;
}

function foldBlocks(
  queue: WriteQueue,
  account: AccountId,
  mailbox: MailboxId,
  summary: MailboxSummary,
): void {
  const { columns } = summary;
  const starts: number[] = [];
  for (const start of [...summary.dirtyBlocks].toSorted((a, b) => a - b)) {
    const next = summary.blocks.find((each) => each > start) ?? 2 ** 32;
    const from = columns.lowerBound(start);
    const to = columns.lowerBound(next);
    if (from === to && start > 0) {
      queue.del(mailboxItemKey(account, table.block, mailbox, start));
      summary.blocks = summary.blocks.filter((each) => each !== start);
      continue;
    }
    for (let at = from; at < to; at += messagesPerBlock) {
      // A block keeps the UID under which it began, though that message may be gone.
      const first = at === from && start > 0 ? start : (columns.uid[at] ?? 0);
      const key = mailboxItemKey(account, table.block, mailbox, first);
      writeBlock(columns, at, Math.min(to, at + messagesPerBlock));
      queue.put(key, endRow(key));
      starts.push(first);
    }
  }
  summary.blocks = [...new Set([...summary.blocks, ...starts])].toSorted((a, b) => a - b);
  summary.dirtyBlocks.clear();
}

/** The columns that are a mailbox's state, alike on all copies, in the order in which they lie in a block. */
export function columnsOf(columns: Columns): readonly (Uint32Array | Float64Array | Int16Array)[] {
  const { uid, modSeq, flags, size, date, zone, saved, bodyTag, bodyLsn } = columns;
  return [uid, modSeq, flags, size, date, zone, saved, bodyTag, bodyLsn];
}

function writeBlock(columns: Columns, from: number, to: number): void {
  const out = beginRow();
  out.varint(to - from);
  for (const column of columnsOf(columns)) {
    const { BYTES_PER_ELEMENT: width, buffer, byteOffset } = column;
    out.raw(new Uint8Array(buffer, byteOffset + from * width, (to - from) * width));
  }
}

function readBlock(columns: Columns, reader: ByteReader): void {
  const count = reader.varint();
  const at = columns.extend(count);
  for (const column of columnsOf(columns)) {
    const { BYTES_PER_ELEMENT: width, buffer, byteOffset } = column;
    new Uint8Array(buffer, byteOffset + at * width, count * width).set(reader.raw(count * width));
  }
}

async function eachRow(
  queue: RowReader,
  prefix: Buffer,
  use: (key: Buffer, reader: ByteReader) => void,
  from = prefix,
): Promise<void> {
  for await (const rows of queue.range(from, afterPrefix(prefix))) {
    for (const [key, value] of rows) use(key, openRow(key, value));
  }
}
