// A message on its way into mailboxes: what is stored, for whom, and what came of it. Types alone;
// mail-store.ts has the calls.

import type { MailFailure } from "./errors.ts";
import type { AccountId, DeliveryId, MailboxId, OpId, ShardId, Uid, UidValidity } from "./ids.ts";
import type { Change } from "./mail-store.ts";
import type { MessageIndex } from "./message-index.ts";

/** A message to store: in memory up to `limits.inlineBytesMax` (256 KiB), else a blob written before. */
export type MessageSource =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "blob"; readonly blob: BlobRef };

/** A large body that lies fsynced on every member of `shard`, not yet part of any mailbox. */
export interface BlobRef {
  readonly shard: ShardId;
  /** The deliveryId it was written under, with a suffix when one delivery writes several. */
  readonly id: string;
  readonly sizeBytes: number;
  /** SHA-256 of the bytes, hex. */
  readonly sha256: string;
}

export interface DeliverRecipient {
  readonly account: AccountId;
  /** Mailbox name; INBOX when absent, and when the named one does not exist. */
  readonly mailbox?: string;
  /**
   * Sender, recipient and the client's bytes as 32 hex digits. What equals a delivery of the last 24
   * hours that was never confirmed, and whose message is still there, is answered with that one.
   */
  readonly fingerprint?: string;
}
export interface DeliverRequest extends Change {
  /** It was accepted before, by the spool: quota is not asked again. */
  readonly accepted?: boolean;
  /** How long a primary that is away is waited for, where that is not the store's own time. */
  readonly patienceMs?: number;
  readonly shard: ShardId;
  /** Earlier deliveries in `shard` whose answer their clients have had: confirmed before this one. */
  readonly confirmed?: readonly OpId[];
  readonly deliveryId: DeliveryId;
  /**
   * All in `shard`. One body is stored for all of them. An account named more than once gets one
   * message, where the first of its entries says, and each of these entries has that outcome.
   */
  readonly recipients: readonly DeliverRecipient[];
  readonly source: MessageSource;
  readonly index: MessageIndex;
}
export type DeliverOutcome =
  | {
      readonly ok: true;
      readonly mailbox: MailboxId;
      readonly uidValidity: UidValidity;
      readonly uid: Uid;
    }
  | { readonly ok: false; readonly failure: MailFailure };
