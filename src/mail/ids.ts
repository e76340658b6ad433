// Branded identifiers shared by every layer. Each is made here and nowhere else, so that a
// mix-up (a Uid where a Lsn is wanted) is a compile error. Leaves parsing of foreign input to decoders.

declare const brand: unique symbol;
type Brand<T, B extends string> = T & { readonly [brand]: B };

/** Account id: birth shard × 2^40 + that shard's counter. Unchanged by moves, never reused. */
export type AccountId = Brand<number, "AccountId">;
/** Mailbox id, 1..2^32-1, counted per account, never reused, unchanged by RENAME. */
export type MailboxId = Brand<number, "MailboxId">;
/** IMAP unique identifier, 1..2^32-1, never reused within one UIDVALIDITY. RFC 9051 §2.3.1.1 */
export type Uid = Brand<number, "Uid">;
/** UIDVALIDITY, 1..2^32-1. RFC 9051 §2.3.1.1 */
export type UidValidity = Brand<number, "UidValidity">;
/** Modification sequence of a mailbox, 1..2^53-1, grows with every change. RFC 7162 §3.1 */
export type ModSeq = Brand<number, "ModSeq">;
/** Shard number, 0..4095. */
export type ShardId = Brand<number, "ShardId">;
/** Configuration number of a shard, grows by every committed change of its members. */
export type Epoch = Brand<number, "Epoch">;
/** Log sequence number inside one shard, from 1, without holes. */
export type Lsn = Brand<number, "Lsn">;
/** Member name, `[a-z][a-z0-9-]{0,31}`, e.g. `g1`, `n3`. */
export type MemberId = Brand<string, "MemberId">;
/** 128 random bits as 32 hex digits, made with a node's data folder. */
export type StoreId = Brand<string, "StoreId">;
/** Operation id: 16 bytes as 32 hex digits; 10 random bytes per process start and a 6-byte counter. */
export type OpId = Brand<string, "OpId">;
/** ULID given to a message at DATA or APPEND; follows it through logs to the secondary's disk. */
export type DeliveryId = Brand<string, "DeliveryId">;

export const uidMax = 0xffff_ffff;
export const shardMax = 4095;

const accountsPerShard = 2 ** 40;

export function accountId(value: number): AccountId {
  return value as AccountId;
}
/** The account id that shard `birth` gives to its `counter`-th account (counter from 1). */
export function makeAccountId(birth: ShardId, counter: number): AccountId {
  return (birth * accountsPerShard + counter) as AccountId;
}
export function mailboxId(value: number): MailboxId {
  return value as MailboxId;
}
export function uid(value: number): Uid {
  return value as Uid;
}
export function uidValidity(value: number): UidValidity {
  return value as UidValidity;
}
export function modSeq(value: number): ModSeq {
  return value as ModSeq;
}
export function shardId(value: number): ShardId {
  return value as ShardId;
}
export function epoch(value: number): Epoch {
  return value as Epoch;
}
export function lsn(value: number): Lsn {
  return value as Lsn;
}
export function memberId(value: string): MemberId {
  return value as MemberId;
}
export function storeId(value: string): StoreId {
  return value as StoreId;
}
export function opId(value: string): OpId {
  return value as OpId;
}
export function deliveryId(value: string): DeliveryId {
  return value as DeliveryId;
}
