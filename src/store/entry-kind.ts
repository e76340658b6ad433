// What log entries of the account engine say. Values are explicit and absolute: applying an entry
// reads nothing, and applying it twice is the same as once. The byte form is in entry-codec.ts.

import type { Registration } from "../mail/account.ts";
import type { AccountId, DeliveryId, MailboxId, OpId, ShardId } from "../mail/ids.ts";
import type { SpoolPart } from "../mail/spool.ts";
import type { UidSet } from "../mail/uid-set.ts";
import type { KeywordSet } from "./flags.ts";

/** Entry kinds. 1..63 are the engine's; those from 64 on are the cluster's and are ignored here. */
export const entryKind = {
  /** One message for one or more recipients: the hot path. */
  deliver: 1,
  /** Any other change of one account. */
  change: 2,
  /** A name's claim, in the shard that the name hashes to. */
  claim: 3,
  /** Mail kept for recipients whose shards could not take it. */
  spool: 4,
  /** Spooled mail that is done with. */
  unspool: 5,
  /** Deliveries whose clients have had their 2xx, when no delivery comes to carry them. */
  confirm: 6,
} as const;

/** Where the bytes of a message lie relative to its entry. */
export type BodyPart =
  | {
      readonly kind: "inline";
      /** Within the entry's body. */
      readonly offset: number;
      readonly length: number;
    }
  | {
      readonly kind: "blob";
      readonly id: string;
      readonly length: number;
      readonly sha256: string;
    };

/** Absolute figures of a mailbox after an entry. */
export interface Counters {
  readonly uidNext: number;
  readonly modSeq: number;
  readonly messages: number;
  readonly unseen: number;
  readonly deleted: number;
  readonly sizeBytes: number;
  /** The first UID that no session has claimed as \Recent, and how many messages have such a UID. */
  readonly recentFrom: number;
  readonly recent: number;
}

export const emptyCounters: Counters = {
  uidNext: 1,
  modSeq: 1,
  messages: 0,
  unseen: 0,
  deleted: 0,
  sizeBytes: 0,
  recentFrom: 1,
  recent: 0,
};

export interface QuotaUse {
  readonly bytes: number;
  readonly messages: number;
}

/** Summary of one message, as in columns, blocks and change rows. */
export interface MessageRow {
  readonly uid: number;
  readonly modSeq: number;
  /** See flags.ts. */
  readonly flags: number;
  readonly size: number;
  /** INTERNALDATE, seconds since 1970 UTC, and its zone in minutes east. */
  readonly date: number;
  readonly zone: number;
  /** When it came into this mailbox, seconds since 1970 UTC. RFC 8514 */
  readonly saved: number;
  /** Body id: shard × 2^16 + part, and lsn; lsn 0 is the lsn of the entry itself. */
  readonly bodyTag: number;
  readonly bodyLsn: number;
}

/** A message that leaves a mailbox, with what is needed to forget its rows. */
export interface RemovedRow {
  readonly uid: number;
  readonly bodyTag: number;
  readonly bodyLsn: number;
}

export interface MailboxRow {
  readonly id: MailboxId;
  readonly name: string;
  readonly uidValidity: number;
  /** Empty: none. */
  readonly specialUse: string;
}

/** One change of an account's state; an entry has several, applied in order. */
export type Op =
  | { readonly kind: "mailbox"; readonly row: MailboxRow }
  | { readonly kind: "gone"; readonly mailbox: MailboxId }
  | { readonly kind: "counters"; readonly mailbox: MailboxId; readonly counters: Counters }
  | { readonly kind: "keywords"; readonly mailbox: MailboxId; readonly set: KeywordSet }
  | {
      readonly kind: "add";
      readonly mailbox: MailboxId;
      readonly modSeq: number;
      readonly messages: readonly MessageRow[];
    }
  | {
      readonly kind: "flags";
      readonly mailbox: MailboxId;
      readonly modSeq: number;
      readonly groups: readonly FlagGroup[];
    }
  | {
      readonly kind: "remove";
      readonly mailbox: MailboxId;
      readonly modSeq: number;
      readonly messages: readonly RemovedRow[];
      /** A MOVE: the account keeps the bodies. */
      readonly moved: boolean;
    }
  | { readonly kind: "quota"; readonly use: QuotaUse }
  | { readonly kind: "subscribe"; readonly name: string; readonly on: boolean }
  | { readonly kind: "account"; readonly nextMailboxId: number; readonly lastUidValidity: number }
  | { readonly kind: "registration"; readonly registration: Registration }
  | {
      readonly kind: "annotation";
      /** 0: the server, as this account sees it. RFC 5464 */
      readonly mailbox: MailboxId;
      readonly entry: string;
      /** Undefined: removed. */
      readonly value: Uint8Array | undefined;
    }
  | {
      readonly kind: "readState";
      readonly group: AccountId;
      /** The member's id of the view. */
      readonly mailbox: MailboxId;
      /** The member's count of changes in `state`. */
      readonly own: number;
      /** All of it, see mail/read-state-codec.ts. */
      readonly state: Uint8Array;
    };

/** Messages that have the same flags number now. */
export interface FlagGroup {
  readonly flags: number;
  readonly uids: UidSet;
}

export interface DeliverTo {
  readonly account: AccountId;
  readonly mailbox: MailboxId;
  readonly uidValidity: number;
  readonly uid: number;
  readonly counters: Counters;
  readonly quota: QuotaUse;
}

export interface DeliverPayload {
  readonly timeMs: number;
  readonly deliveryId: DeliveryId;
  readonly part: BodyPart;
  /** The static row, see static-row.ts. */
  readonly static: Uint8Array;
  readonly size: number;
  readonly recipients: readonly DeliverTo[];
  /** Of `recipients`, in their order, empty where one has none; absent: none has. See unconfirmed.ts. */
  readonly fingerprints?: readonly string[];
  /** Fingerprints of earlier deliveries in this shard that are confirmed with this entry. */
  readonly confirmed?: readonly string[];
}

/** A message that waits for recipients of other shards; one row each, see spool-rows.ts. */
export interface SpoolPayload {
  readonly timeMs: number;
  readonly deliveryId: DeliveryId;
  readonly part: BodyPart;
  readonly sender: string;
  readonly bounceTo?: { readonly account: AccountId; readonly shard: ShardId };
  readonly parts: readonly SpoolPart[];
}

/** Rows of earlier spool entries that are done with: lsn, and place among that entry's recipients. */
export interface UnspoolPayload {
  readonly rows: readonly { readonly lsn: number; readonly at: number }[];
}

export interface ConfirmPayload {
  readonly timeMs: number;
  readonly fingerprints: readonly string[];
}

export interface ChangePayload {
  readonly account: AccountId;
  readonly timeMs: number;
  readonly parts: readonly BodyPart[];
  /** Static rows of `parts`. */
  readonly statics: readonly Uint8Array[];
  readonly ops: readonly Op[];
  /** Reply kept for retries, see outcome.ts; empty: none. */
  readonly outcome: Uint8Array;
}

export type ClaimState = "claimed" | "confirmed" | "released";

/** A name (user, alias, group) and the account it belongs to. */
export interface Claim {
  readonly name: string;
  readonly account: AccountId;
  /** The shard in which the account lives or is to be created. */
  readonly target: ShardId;
  readonly state: ClaimState;
  /** Mailboxes of an account under this name get higher ones. */
  readonly uidValidityFloor: number;
  readonly timeMs: number;
  /** The operation that made it so: a retry finds its own claim. */
  readonly opId: OpId;
  /** The unfinished change that this name drives, in the cluster's form: the shard's outbox. */
  readonly task?: Uint8Array;
}

export interface ClaimPayload {
  readonly claims: readonly Claim[];
  /** The claim shard's counter of account ids after this. */
  readonly accountCounter: number;
}

export type Payload =
  | { readonly kind: "deliver"; readonly deliver: DeliverPayload }
  | { readonly kind: "change"; readonly change: ChangePayload }
  | { readonly kind: "claim"; readonly claim: ClaimPayload }
  | { readonly kind: "spool"; readonly spool: SpoolPayload }
  | { readonly kind: "unspool"; readonly unspool: UnspoolPayload }
  | { readonly kind: "confirm"; readonly confirm: ConfirmPayload };

/** The bodies that an entry brings. */
export function bodyPartsOf(payload: Payload): readonly BodyPart[] {
  switch (payload.kind) {
    case "deliver":
      return [payload.deliver.part];
    case "change":
      return payload.change.parts;
    case "spool":
      return [payload.spool.part];
    default:
      return noParts;
  }
}

const noParts: readonly BodyPart[] = [];
