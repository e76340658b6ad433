// The hinge of Pabal: what protocol code may ask of mail storage. Implemented by the local store
// (disk), the routed store (finds the primary, asks it, retries) and a fake; one conformance suite
// runs on all three. Sequence numbers, sessions and protocol text are the caller's business.

import type { AccountId, MailboxId, ModSeq, OpId, ShardId, Uid, UidValidity } from "./ids.ts";
import type { MailFailure } from "./errors.ts";
import type { MessageIndex } from "./message-index.ts";
import type { MailboxAnnotations } from "./annotation.ts";
import type { BlobRef, DeliverOutcome, DeliverRequest, MessageSource } from "./delivery.ts";
import type { FetchChunk, FetchRequest } from "./fetch.ts";
import type { FlagColumns, FlagsRequest } from "./flag-columns.ts";
import type { Quota } from "./quota.ts";
import type { SearchOutcome, SearchRequest } from "./search.ts";
import type { SpoolRequest } from "./spool.ts";
import type { ReadState } from "./read-state.ts";
import type { MemberChange } from "./state-change.ts";
import type { UidSet } from "./uid-set.ts";

/** On whose behalf a request is made. The node refuses an older `credVersion` with STALE_CREDENTIALS. */
export interface Principal {
  readonly account: AccountId;
  /** Where the directory says the account lives; a wrong one is answered WRONG_NODE. */
  readonly shard: ShardId;
  readonly credVersion: number;
}

/** Identity of a change, so that a repeated request is recognised and answered with the kept outcome. */
export interface Change {
  readonly opId: OpId;
  /** False on the first try only: lets the node skip the look-up of old outcomes on disk. */
  readonly retry: boolean;
}

export type { SearchOutcome, SearchRequest } from "./search.ts";
export type {
  BlobRef,
  DeliverOutcome,
  DeliverRecipient,
  DeliverRequest,
  MessageSource,
} from "./delivery.ts";

export interface MailboxInfo {
  readonly id: MailboxId;
  /** Full name, NFC, levels joined by `/`; `INBOX` in this case for the inbox. */
  readonly name: string;
  /** False for a name that only has children (`\Noselect`, RFC 9051 `\NonExistent`). Its id is 0. */
  readonly selectable: boolean;
  readonly subscribed: boolean;
  /** `\Sent`, `\Trash`, … RFC 6154 */
  readonly specialUse?: string;
  readonly uidValidity: UidValidity;
  readonly uidNext: number;
  readonly highestModSeq: ModSeq;
  readonly messages: number;
  readonly unseen: number;
  readonly deleted: number;
  /** Messages that no session has been told of as \Recent yet. */
  readonly recent: number;
  /** Sum of message sizes. RFC 8438 */
  readonly sizeBytes: number;
  /** What the user may do, as RFC 4314 §2.1 letters (`lrswte`); absent: everything, as an owner. */
  readonly rights?: string;
  /** The mailbox is the account's view of this group. */
  readonly group?: AccountId;
}

/** A subscribed name may outlive its mailbox (RFC 9051 §6.3.7): listed with `exists: false`. */
export interface MailboxListing {
  readonly mailboxes: readonly MailboxInfo[];
  /** Subscribed names without a mailbox. */
  readonly orphanSubscriptions: readonly string[];
}

export interface OpenMailbox {
  readonly info: MailboxInfo;
  /** Ascending UIDs of all messages: sequence number n is `uids[n-1]`. The caller must not write to it. */
  readonly uids: Uint32Array;
  /** Messages with a UID ≥ this are \Recent for the opener (set when `claimRecent`). */
  readonly recentFrom: number;
  /** UID of the first message without \Seen, 0 when there is none. */
  readonly firstUnseen: number;
  /** Keywords in use, in the case first seen. */
  readonly keywords: readonly string[];
}

/** State of one message as a session must learn it. `flags` holds system flags and keywords, never \Recent. */
export interface FlagState {
  readonly uid: Uid;
  readonly modSeq: ModSeq;
  readonly flags: readonly string[];
}

/** What happened in a mailbox since a MODSEQ. Applying it to the old uid list gives the new one. */
export interface MailboxChanges {
  readonly highestModSeq: ModSeq;
  readonly uidNext: number;
  /** New messages still there, ascending. */
  readonly added: readonly FlagState[];
  /** Older messages whose flags changed, ascending. */
  readonly changed: readonly FlagState[];
  /** UIDs that are gone; may name UIDs the session never knew. */
  readonly vanished: UidSet;
  readonly messages: number;
}

export type { FetchChunk, FetchItems, FetchRequest, FetchSection } from "./fetch.ts";
export type { FlagColumns, FlagsRequest } from "./flag-columns.ts";

export interface StoreRequest extends Change {
  readonly mailbox: MailboxId;
  readonly uids: UidSet;
  readonly mode: "add" | "remove" | "replace";
  readonly flags: readonly string[];
  /** RFC 7162 §3.1.3: messages with a higher MODSEQ are left alone and reported in `modified`. */
  readonly unchangedSince?: number;
}
export interface StoreOutcome {
  readonly highestModSeq: ModSeq;
  /**
   * True when this request changed something, so that `highestModSeq` is its own MODSEQ. Lets a
   * session see that nothing else came between; absent: it asks with `changes`.
   */
  readonly changed?: boolean;
  /** Every named message that exists and passed UNCHANGEDSINCE, also where nothing changed. */
  readonly stored: readonly FlagState[];
  readonly modified: UidSet;
}

export interface ExpungeOutcome {
  readonly highestModSeq: ModSeq;
  readonly expunged: UidSet;
}

export interface CopyRequest extends Change {
  readonly mailbox: MailboxId;
  readonly uids: UidSet;
  /** Name of the target mailbox, which must exist. */
  readonly target: string;
}
/** RFC 4315 §3 COPYUID: `from[i]` became `to[i]`, both ascending. */
export interface CopyOutcome {
  readonly uidValidity: UidValidity;
  readonly from: readonly number[];
  readonly to: readonly number[];
  /** Of the source mailbox, after a MOVE. */
  readonly highestModSeq: ModSeq;
}

export interface AppendMessage {
  readonly source: MessageSource;
  readonly index: MessageIndex;
  readonly flags: readonly string[];
  /** Milliseconds UTC; the node's clock when absent. */
  readonly internalDateMs?: number;
  /** Minutes east of UTC in which the client gave it; 0 when absent. */
  readonly internalDateZone?: number;
}
export interface AppendRequest extends Change {
  readonly mailbox: string;
  /** Stored all or none. RFC 3502 */
  readonly messages: readonly AppendMessage[];
  /** Goes in the same change; INVALID when it is gone already. RFC 8508 */
  readonly replaces?: { readonly mailbox: MailboxId; readonly uid: Uid };
  /** Happens in the same change: what is moved out of a group is hidden there. Errors as MemberStates. */
  readonly memberChange?: MemberChange;
}
export interface AppendOutcome {
  readonly mailbox: MailboxId;
  readonly uidValidity: UidValidity;
  readonly uids: readonly number[];
  /** Of the mailbox from which the replaced message went. */
  readonly highestModSeq?: ModSeq;
  /** The member's state of the group after `memberChange`. */
  readonly memberState?: ReadState;
}

export type { Annotation, MailboxAnnotations } from "./annotation.ts";
export interface AnnotateRequest extends Change {
  /** Empty: the server. */
  readonly mailbox: string;
  /** Undefined removes. */
  readonly entries: readonly { readonly entry: string; readonly value: Uint8Array | undefined }[];
}

/** Something changed; the listener asks for details with `changes` or `listMailboxes`. */
export type MailboxEvent =
  | { readonly kind: "mailbox"; readonly mailbox: MailboxId; readonly highestModSeq: ModSeq }
  | { readonly kind: "deleted"; readonly mailbox: MailboxId }
  /** Names, subscriptions or special uses changed. */
  | { readonly kind: "list" }
  /** The account was disabled, deleted or got a new password: end the session. */
  | { readonly kind: "revoked" };

/** How a maildrop that was got is getting on. */
export type MaildropState =
  /** Held, or held again: nobody else has it. */
  | { readonly kind: "held" }
  /** The primary is away or has moved: the maildrop is being taken again. */
  | { readonly kind: "broken" }
  /**
   * Gone for good: IN_USE when another took it meanwhile, STALE_CREDENTIALS, ACCOUNT_DISABLED or
   * NO_SUCH_ACCOUNT when the account was revoked, UNAVAILABLE when it could not be taken again.
   */
  | { readonly kind: "lost"; readonly failure: MailFailure };

/**
 * Changes reject with MailError; when a change resolves it is fsynced on every member of the shard.
 * Common errors of all: NO_SUCH_ACCOUNT, ACCOUNT_DISABLED, STALE_CREDENTIALS, WRONG_NODE (local
 * implementations only), REPLICA_UNREACHABLE, UNAVAILABLE; with a mailbox id also MAILBOX_GONE.
 * `signal` cancels the wait, not a change that is already in the log.
 */
export interface MailStore {
  /** One outcome per recipient, in order. Rejects only when none was stored. */
  deliver(request: DeliverRequest, signal: AbortSignal): Promise<readonly DeliverOutcome[]>;
  /**
   * Streams a large body to every member's disk. `id` as in BlobRef; unused blobs vanish after a day.
   * With `elsewhereAfterMs` a shard that is away is waited for only so long: the body then goes to
   * another shard, for `spool`.
   */
  writeBlob(
    shard: ShardId,
    id: string,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
    elsewhereAfterMs?: number,
  ): Promise<BlobRef>;
  /**
   * Takes mail over for recipients whose shards can't be reached; resolves once it is on two disks.
   * @throws UNAVAILABLE, REPLICA_UNREACHABLE: unknown or not taken; BUSY: the spool is full
   */
  spool(request: SpoolRequest, signal: AbortSignal): Promise<void>;
  /** The client is known to have had its 2xx for these deliveries: the same again is new mail. Returns at once. */
  confirm(shard: ShardId, deliveries: readonly OpId[]): void;

  listMailboxes(who: Principal, signal: AbortSignal): Promise<MailboxListing>;
  /** One mailbox's figures (STATUS). @throws NO_SUCH_MAILBOX */
  mailboxStatus(who: Principal, name: string, signal: AbortSignal): Promise<MailboxInfo>;
  /** Creates the mailbox and missing superior names. @throws MAILBOX_EXISTS, BAD_MAILBOX_NAME, LIMIT */
  createMailbox(
    who: Principal,
    request: Change & { readonly name: string; readonly specialUse?: string },
    signal: AbortSignal,
  ): Promise<MailboxInfo>;
  /** RFC 9051 §6.3.5: with children, the name stays as not selectable. INBOX can't be deleted. */
  deleteMailbox(
    who: Principal,
    request: Change & { readonly name: string },
    signal: AbortSignal,
  ): Promise<void>;
  /** RFC 9051 §6.3.6: children move too; renaming INBOX moves its messages and leaves it empty. */
  renameMailbox(
    who: Principal,
    request: Change & { readonly from: string; readonly to: string },
    signal: AbortSignal,
  ): Promise<void>;
  setSubscribed(
    who: Principal,
    request: Change & { readonly name: string; readonly subscribed: boolean },
    signal: AbortSignal,
  ): Promise<void>;

  /** `claimRecent` (SELECT, not EXAMINE): these messages are \Recent for this opener alone. */
  openMailbox(
    who: Principal,
    request: { readonly name: string; readonly claimRecent: boolean },
    signal: AbortSignal,
  ): Promise<OpenMailbox>;
  /**
   * Everything that happened after `sinceModSeq`. `knownUidNext` divides `added` from `changed`.
   * With `uidValidity` only if the mailbox still has it and is not behind what the caller knows:
   * else MAILBOX_GONE with a reason, as no difference would be right.
   */
  changes(
    who: Principal,
    request: {
      readonly mailbox: MailboxId;
      readonly sinceModSeq: ModSeq;
      readonly knownUidNext: number;
      readonly uidValidity?: number;
    },
    signal: AbortSignal,
  ): Promise<MailboxChanges>;
  /**
   * Events until `signal` aborts. A failure of the primary ends it with UNAVAILABLE. `listening` is
   * called once nothing is missed from then on, and again behind each break: what a caller asks for
   * earlier may be older than the first event. `interrupted` is called at each break, after which
   * the primary is looked for; UNAVAILABLE when it is not found in time.
   */
  watch(
    who: Principal,
    request: {
      readonly mailboxes: readonly MailboxId[] | "all";
      readonly listening?: () => void;
      readonly interrupted?: () => void;
    },
    signal: AbortSignal,
  ): AsyncIterable<MailboxEvent>;

  /** Ascending by UID. A consumer that stops reading stops the disk. UIDs that are gone are left out. */
  fetch(who: Principal, request: FetchRequest, signal: AbortSignal): AsyncIterable<FetchChunk>;
  /** FLAGS and MODSEQ alone, as `fetch` would give them, all of one moment. */
  flags(who: Principal, request: FlagsRequest, signal: AbortSignal): Promise<FlagColumns>;
  /**
   * The stored bytes of one message from `offset` on, in pieces; from an offset above 0 also when it
   * was expunged lately. @throws NO_SUCH_MAILBOX, INVALID when gone
   */
  readMessage(
    who: Principal,
    request: { readonly mailbox: MailboxId; readonly uid: Uid; readonly offset: number },
    signal: AbortSignal,
  ): AsyncIterable<Uint8Array>;
  search(who: Principal, request: SearchRequest, signal: AbortSignal): Promise<SearchOutcome>;

  append(who: Principal, request: AppendRequest, signal: AbortSignal): Promise<AppendOutcome>;
  store(who: Principal, request: StoreRequest, signal: AbortSignal): Promise<StoreOutcome>;
  /**
   * Removes messages with \Deleted, within `uids` when given; with `force` whether flagged or not
   * (POP3 QUIT). @throws IN_USE when `maildrop` is given and another holder has the maildrop
   */
  expunge(
    who: Principal,
    request: Change & {
      readonly mailbox: MailboxId;
      readonly uids?: UidSet;
      readonly force?: boolean;
      readonly maildrop?: OpId;
    },
    signal: AbortSignal,
  ): Promise<ExpungeOutcome>;
  /** All or none. @throws NO_SUCH_MAILBOX (answer TRYCREATE), OVER_QUOTA */
  copy(who: Principal, request: CopyRequest, signal: AbortSignal): Promise<CopyOutcome>;
  move(who: Principal, request: CopyRequest, signal: AbortSignal): Promise<CopyOutcome>;

  /**
   * Annotations of one mailbox (empty name: of the server), or of all that have any; sorted.
   * @throws NO_SUCH_MAILBOX
   */
  annotations(
    who: Principal,
    request: { readonly mailbox: string | undefined },
    signal: AbortSignal,
  ): Promise<readonly MailboxAnnotations[]>;
  /**
   * Sets and removes annotations, all or none; they move with RENAME and go with DELETE. RFC 5464
   * @throws NO_SUCH_MAILBOX, LIMIT (`annotationBytesMax`, `annotationsMax`, `accountAnnotationBytesMax`)
   */
  annotate(who: Principal, request: AnnotateRequest, signal: AbortSignal): Promise<void>;

  quota(who: Principal, signal: AbortSignal): Promise<Quota>;
  /**
   * Holds the INBOX as a POP3 maildrop until `signal` aborts or the caller's gateway is gone.
   * Resolves once held; what becomes of it later goes to `onState`. The same `holder` again takes
   * its own hold over, wherever that was left. @throws IN_USE
   */
  lockMaildrop(
    who: Principal,
    signal: AbortSignal,
    onState?: (state: MaildropState) => void,
    holder?: OpId,
  ): Promise<void>;
}
