// Groups as every layer sees them (paper BC1–BC8): what a group account is set to, what a member's
// registration says of it, and the numbers of the view that a member has of the group's messages.

import type { AccountId, MailboxId } from "./ids.ts";
import { mailboxId } from "./ids.ts";

/** Who may post: those listed alone, every member, or every user. Operators may always. */
export type PostPolicy = "listed" | "members" | "users";
/** Whether members join and leave by themselves. */
export type JoinPolicy = "open" | "closed";

/** What a group account is set to; part of its registration and of its directory row. */
export interface GroupSettings {
  /** One line for people. */
  readonly description: string;
  readonly post: PostPolicy;
  /** Addresses that may post whatever `post` says, normalised. */
  readonly posters: readonly string[];
  readonly join: JoinPolicy;
  /** Days of older messages that a new member sees; 0: none, `allHistory`: all that have not expired. */
  readonly historyDays: number;
  /** Age at which messages go, in milliseconds; 0: they stay until they are recalled. */
  readonly retentionMs: number;
  /** The built-in group: every user is a member, new ones too. */
  readonly everyone: boolean;
  /** Nobody may be shown the group's mailbox as it was before this MODSEQ: something was recalled. */
  readonly floorModSeq: number;
}

export const allHistory = 0xffff_ffff;

export const defaultGroup: GroupSettings = {
  description: "",
  post: "listed",
  posters: [],
  join: "closed",
  historyDays: allHistory,
  retentionMs: 0,
  everyone: false,
  floorModSeq: 0,
};

/** That an account is a member of a group: stands in the member's registration, never in the group's. */
export interface Membership {
  readonly group: AccountId;
  /** The member's own id of the view, ≥ `firstViewId`, never used again. */
  readonly mailbox: MailboxId;
  readonly sinceMs: number;
  /** Older messages are not shown. */
  readonly fromUid: number;
}

/** Mailboxes from this id on are views of groups; an account's own ones never come so far. */
export const firstViewId = 0xc000_0000;
/** The view of the built-in group, of which everyone is a member without saying so. */
export const everyoneView: MailboxId = mailboxId(firstViewId);
/** The local part of the built-in group's address. */
export const everyoneName = "all";
/** Mailbox of a group account in which announcements wait for their time; INTERNALDATE is when. */
export const scheduledMailbox = "Scheduled";

export function isView(mailbox: MailboxId): boolean {
  return mailbox >= firstViewId;
}

/**
 * A view changes for two reasons: the group's mailbox does, or the member's own state. Its MODSEQ is
 * both counters in one number: the group's MODSEQ above, the member's count of changes below. It can
 * be taken apart again, so that "what has changed since" needs no third counter that somebody would
 * have to keep for everyone. RFC 7162 §3.1 asks for numbers that grow, which both parts do.
 */
export interface ViewModSeq {
  readonly group: number;
  readonly own: number;
}

const ownSpan = 2 ** 29;
export const ownChangesMax = ownSpan - 1;
export const groupModSeqMax = 2 ** 24 - 1;

export function joinViewModSeq({ group, own }: ViewModSeq): number {
  return group * ownSpan + own;
}

export function splitViewModSeq(value: number): ViewModSeq {
  const group = Math.min(groupModSeqMax, Math.floor(value / ownSpan));
  return { group, own: value % ownSpan };
}
