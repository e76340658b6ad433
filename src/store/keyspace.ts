// The one table of LevelDB keys: prefix → key → value. Binary, big-endian, so that ranges ascend.
// Everything of an account lies in one range (`A` + id) that can be copied between nodes as it is;
// locations of bodies are this node's own and lie outside of it. Retired numbers stay listed.

import { readU16, readU48, readU53, writeU16, writeU32, writeU48, writeU53 } from "../lib/bytes.ts";
import type { AccountId, DeliveryId, MailboxId, OpId, ShardId } from "../mail/ids.ts";

/** First byte of a key. */
export const space = {
  /** node → format version, node id, cluster id; 1 → how far the scrubber is. */
  node: 0x4e,
  /** shard s, table → what a shard keeps as a whole. */
  shard: 0x53,
  /** account a, table, … → an account's range. */
  account: 0x41,
  /** body (shard, lsn, part), table, … → location on this node, owners. */
  body: 0x42,
  /** claim (shard, name) → account and state. */
  claim: 0x43,
  /** deleted mailbox (account 8, mailbox 4) → empty, while its messages' rows are not yet swept here. */
  gone: 0x47,
  /** blob (name), 0, body (shard 2, lsn 6, part 2) → empty: a body that refers to it. Several may. */
  blob: 0x4c,
  /** shard (2), lsn (6), place among the entry's recipients (4) → mail that waits for a recipient. */
  spool: 0x51,
  /** shard (2), fingerprint (16) → a delivery that its client may not know of. */
  unconfirmed: 0x55,
} as const;

/** Tables of an account's range: `A`, account (8), table (1), then what the line says. */
export const table = {
  /** → registration record, with shard and lsn of its last change. */
  registration: 1,
  /** → next mailbox id, highest UIDVALIDITY ever given. */
  account: 2,
  /** → absolute {bytes, messages}. */
  quota: 3,
  /** mailbox (4) → name, UIDVALIDITY, special use. */
  mailbox: 4,
  /** mailbox (4) → UIDNEXT, HIGHESTMODSEQ, counts. */
  counters: 5,
  /** mailbox (4), set id (4) → keywords. */
  keywords: 6,
  /** name (UTF-8) → empty. */
  subscription: 7,
  /** body id (10) → immutable: size, dates, ENVELOPE, BODYSTRUCTURE, part offsets. */
  static: 8,
  /** mailbox (4), first uid (4) → packed summary of up to 1024 messages. */
  block: 9,
  /** mailbox (4) → the MODSEQ up to which the blocks hold everything. */
  fold: 10,
  /** mailbox (4), modseq (8) → added messages, new flags, or that some went; rolls the blocks forward. */
  change: 11,
  /** mailbox (4), modseq (8) → UIDs that went. */
  vanished: 12,
  /** operation id (16) → time, outcome. */
  outcome: 13,
  /** delivery id (text) → time, mailbox, UIDVALIDITY, uid. */
  delivery: 14,
  /** mailbox (4), first uid (4) → copies of the static rows of neighbouring messages. */
  page: 15,
  /** mailbox (4) → which pages there are: first uid, last uid, messages. */
  pages: 16,
  /** mailbox (4), or 0 for the server; entry name (UTF-8) → value. RFC 5464 */
  annotation: 20,
  /** group's account (8) → what this member did with the group's messages. Paper BC5 */
  readState: 30,
} as const;

/** Tables of a body: `B`, shard (2), lsn (6), part (2), table (1). */
export const bodyTable = {
  /** → segment, offset, length, crc; or a blob's name. */
  location: 0,
  /**
   * account (8), mailbox (4), uid (4) → empty. Keys, not counters: a counter doubles on replay.
   * Mailbox 0 owns nothing: it names an account whose static row goes when the body does.
   */
  owner: 1,
} as const;

/** Tables of a shard: `S`, shard (2), table (1). */
export const shardTable = {
  /** account (8) → lsn of the last change of its registration. */
  account: 1,
  /** → the counter from which account ids were allotted last. */
  accountCounter: 2,
  /** group's account (8) → empty: it lives here. Stays when it was deleted. */
  group: 30,
  /** group's account (8), member's account (8) → empty: the member has a read state of the group. */
  reader: 31,
} as const;

export function accountKey(account: AccountId, which: number, tailBytes = 0): Buffer {
  const key = Buffer.allocUnsafe(10 + tailBytes);
  key[0] = space.account;
  writeU53(key, account, 1);
  key[9] = which;
  return key;
}

export function mailboxKey(account: AccountId, which: number, mailbox: MailboxId): Buffer {
  const key = accountKey(account, which, 4);
  writeU32(key, mailbox, 10);
  return key;
}

/** Key of a keyword set or a block: mailbox and a 4-byte number. */
export function mailboxItemKey(
  account: AccountId,
  which: number,
  mailbox: MailboxId,
  item: number,
): Buffer {
  const key = accountKey(account, which, 8);
  writeU32(key, mailbox, 10);
  writeU32(key, item, 14);
  return key;
}

/** Key of a change or vanished row. */
export function modSeqKey(
  account: AccountId,
  which: number,
  mailbox: MailboxId,
  modSeq: number,
): Buffer {
  const key = accountKey(account, which, 12);
  writeU32(key, mailbox, 10);
  writeU53(key, modSeq, 14);
  return key;
}

export function modSeqOfKey(key: Buffer): number {
  return readU53(key, 14);
}

export function subscriptionKey(account: AccountId, name: string): Buffer {
  return Buffer.concat([accountKey(account, table.subscription), Buffer.from(name)]);
}

export function annotationKey(account: AccountId, mailbox: MailboxId, entry: string): Buffer {
  return Buffer.concat([mailboxKey(account, table.annotation, mailbox), Buffer.from(entry)]);
}

export function outcomeKey(account: AccountId, opId: OpId): Buffer {
  const key = accountKey(account, table.outcome, 16);
  key.write(opId, 10, "hex");
  return key;
}

export function deliveryKey(account: AccountId, id: DeliveryId): Buffer {
  const key = accountKey(account, table.delivery, id.length);
  key.write(id, 10, "latin1");
  return key;
}

/** A body's replicated name: `tag` is shard × 2^16 + part, `lsn` that of the entry that brought it. */
export function staticKey(account: AccountId, tag: number, lsn: number): Buffer {
  const key = accountKey(account, table.static, 10);
  writeBodyId(key, 10, tag, lsn);
  return key;
}

export function bodyKey(tag: number, lsn: number): Buffer {
  const key = Buffer.allocUnsafe(12);
  key[0] = space.body;
  writeBodyId(key, 1, tag, lsn);
  key[11] = bodyTable.location;
  return key;
}

export function ownerKey(
  tag: number,
  lsn: number,
  account: AccountId,
  mailbox: number,
  uid: number,
): Buffer {
  const key = Buffer.allocUnsafe(28);
  key[0] = space.body;
  writeBodyId(key, 1, tag, lsn);
  key[11] = bodyTable.owner;
  writeU53(key, account, 12);
  writeU32(key, mailbox, 20);
  writeU32(key, uid, 24);
  return key;
}

export function goneKey(account: AccountId, mailbox: MailboxId): Buffer {
  const key = Buffer.allocUnsafe(13);
  key[0] = space.gone;
  writeU53(key, account, 1);
  writeU32(key, mailbox, 9);
  return key;
}

export function blobKey(name: string, tag: number, lsn: number): Buffer {
  const prefix = blobPrefix(name);
  const key = Buffer.allocUnsafe(prefix.length + 10);
  prefix.copy(key);
  writeBodyId(key, prefix.length, tag, lsn);
  return key;
}

/** Start of the keys of a blob's bodies; names have no zero byte. */
export function blobPrefix(name: string): Buffer {
  return Buffer.concat([Buffer.of(space.blob), Buffer.from(name), Buffer.of(0)]);
}

/** The body that a key of `blobKey` names. */
export function bodyOfBlobKey(key: Buffer): { shard: number; lsn: number; part: number } {
  const at = key.length - 10;
  return {
    shard: readU16(key, at),
    lsn: readU48(key, at + 2),
    part: readU16(key, at + 8),
  };
}

/** Start of the keys of one entry's bodies, all parts, or with a part those of one body. */
export function bodyPrefix(shard: number, lsn: number, part?: number): Buffer {
  const key = Buffer.allocUnsafe(11);
  key[0] = space.body;
  writeBodyId(key, 1, shard * 2 ** 16 + (part ?? 0), lsn);
  return part === undefined ? key.subarray(0, 9) : key;
}

/** Key of a spooled recipient, or without `at` the start of all of an entry, or of a shard. */
export function spoolKey(shard: ShardId, lsn?: number, at?: number): Buffer {
  const key = Buffer.allocUnsafe(13);
  key[0] = space.spool;
  writeU16(key, shard, 1);
  if (lsn === undefined) return key.subarray(0, 3);
  writeU48(key, lsn, 3);
  if (at === undefined) return key.subarray(0, 9);
  writeU32(key, at, 9);
  return key;
}

export function unconfirmedKey(shard: ShardId, fingerprint: string): Buffer {
  const key = Buffer.allocUnsafe(19);
  key[0] = space.unconfirmed;
  writeU16(key, shard, 1);
  key.write(fingerprint, 3, "hex");
  return key;
}

export function claimKey(shard: ShardId, name: string): Buffer {
  const text = Buffer.from(name);
  const key = Buffer.allocUnsafe(3 + text.length);
  key[0] = space.claim;
  writeU16(key, shard, 1);
  text.copy(key, 3);
  return key;
}

export function shardKey(shard: ShardId, which: number, tailBytes = 0): Buffer {
  const key = Buffer.allocUnsafe(4 + tailBytes);
  key[0] = space.shard;
  writeU16(key, shard, 1);
  key[3] = which;
  return key;
}

export function shardAccountKey(shard: ShardId, account: AccountId): Buffer {
  const key = shardKey(shard, shardTable.account, 8);
  writeU53(key, account, 4);
  return key;
}

export function readStateKey(account: AccountId, group: AccountId): Buffer {
  const key = accountKey(account, table.readState, 8);
  writeU53(key, group, 10);
  return key;
}

export function groupKey(shard: ShardId, group: AccountId): Buffer {
  const key = shardKey(shard, shardTable.group, 8);
  writeU53(key, group, 4);
  return key;
}

/** Key of one reader of a group, or without `account` the start of all. */
export function readerKey(shard: ShardId, group: AccountId, account?: AccountId): Buffer {
  const key = shardKey(shard, shardTable.reader, account === undefined ? 8 : 16);
  writeU53(key, group, 4);
  if (account !== undefined) writeU53(key, account, 12);
  return key;
}

/** The account id at `at` in a key. */
export function accountInKey(key: Buffer, at: number): number {
  return readU53(key, at);
}

/** The first key behind all that start with `prefix`, for exclusive upper bounds. */
export function afterPrefix(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  for (let at = end.length - 1; at >= 0; at--) {
    const byte = end[at] ?? 0;
    if (byte < 0xff) {
      end[at] = byte + 1;
      return end.subarray(0, at + 1);
    }
  }
  return Buffer.from([0xff]);
}

function writeBodyId(key: Buffer, at: number, tag: number, lsn: number): void {
  writeU16(key, tag >>> 16, at);
  writeU48(key, lsn, at + 2);
  writeU16(key, tag & 0xffff, at + 8);
}
