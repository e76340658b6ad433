// The table of keys of the search index, which is a LevelDB of its own (folder `search`): all of it is
// derived, local to this node, and may be deleted. Binary and big-endian, as keyspace.ts.

import { readU53, writeU53 } from "../../lib/bytes.ts";
import { accountId, mailboxId } from "../../mail/ids.ts";
import type { AccountId, MailboxId } from "../../mail/ids.ts";

/** First byte of a key. */
export const indexTable = {
  /** → format version. */
  format: 0x46,
  /** account (8), mailbox (4), block (4) → the block's directory: its messages, where its parts begin. */
  directory: 0x44,
  /** account (8), mailbox (4), block (4), part (4) → grams in ascending order, each with its messages. */
  part: 0x50,
} as const;

/** Raised when rows change their form: an index of another format is dropped and built anew. */
export const indexFormat = 1;

/** Which mailbox of which account; UIDs of a mailbox id never name another message. */
export interface MailboxPlace {
  readonly account: AccountId;
  readonly mailbox: MailboxId;
}

export const formatKey = Buffer.of(indexTable.format);

/** Start of the keys of a mailbox's rows in one table. */
export function placePrefix(which: number, { account, mailbox }: MailboxPlace): Buffer {
  const key = Buffer.allocUnsafe(13);
  key[0] = which;
  writeU53(key, account, 1);
  key.writeUInt32BE(mailbox, 9);
  return key;
}

export function directoryKey(place: MailboxPlace, block: number): Buffer {
  return blockPrefix(indexTable.directory, place, block);
}

/** Key of a directory, or start of the keys of a block's parts. */
export function blockPrefix(which: number, place: MailboxPlace, block: number): Buffer {
  const key = Buffer.allocUnsafe(17);
  placePrefix(which, place).copy(key);
  key.writeUInt32BE(block, 13);
  return key;
}

export function partKey(place: MailboxPlace, block: number, part: number): Buffer {
  const key = Buffer.allocUnsafe(21);
  blockPrefix(indexTable.part, place, block).copy(key);
  key.writeUInt32BE(part, 17);
  return key;
}

/** The mailbox of a directory's or part's key. */
export function placeOfKey(key: Buffer): MailboxPlace {
  return { account: accountId(readU53(key, 1)), mailbox: mailboxId(key.readUInt32BE(9)) };
}

export function blockOfKey(key: Buffer): number {
  return key.readUInt32BE(13);
}
