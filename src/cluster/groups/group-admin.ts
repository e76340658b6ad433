// What an operator may do with groups and announcements, from any gateway. Changes of groups and
// members are acknowledged when every gateway knows them; so is a recall.

import type { DirectoryRow } from "../../mail/account.ts";
import type { GroupSettings } from "../../mail/group.ts";
import type { OpId } from "../../mail/ids.ts";
import type { GroupPatch } from "../directory/registration-patch.ts";

export interface NewGroup extends Partial<Omit<GroupSettings, "everyone" | "floorModSeq">> {
  /** `local@domain`, or `local` in the first domain; `all` is the group of everyone. */
  readonly name: string;
}

/** A group with its figures. */
export interface GroupDetails {
  readonly row: DirectoryRow;
  readonly members: number;
  readonly messages: number;
  readonly scheduled: number;
  readonly bytes: number;
}

export interface NewAnnouncement {
  /** RFC 5322 message, or plain text; any line ends. Read once, as it comes. */
  readonly message: AsyncIterable<Uint8Array>;
  /** Names the announcement, so that a repeated request posts it once. */
  readonly id?: OpId;
  readonly subject?: string;
  readonly from?: string;
  readonly expiresMs?: number;
  /** Posted then; at once when absent or past. */
  readonly atMs?: number;
  /** Goes as the new one comes. Posted ones are replaced at once. */
  readonly replaces?: AnnouncementId;
}

/** Where an announcement lies: its UID, `s` before it while it waits for its time. */
export type AnnouncementId = string;

export interface Announcement {
  readonly id: AnnouncementId;
  readonly subject: string;
  readonly from: string;
  /** When it was or will be posted. */
  readonly dateMs: number;
  readonly expiresMs: number | undefined;
  readonly sizeBytes: number;
}

export interface AnnouncementStats extends Announcement {
  readonly members: number;
  readonly read: number;
  readonly hidden: number;
}

export interface GroupAdmin {
  /** Largest message that `announce` takes. */
  readonly messageBytesMax: number;
  /** @throws MailError NAME_TAKEN, INVALID, UNAVAILABLE */
  create(group: NewGroup, signal: AbortSignal): Promise<DirectoryRow>;
  /** @throws MailError NO_SUCH_ACCOUNT, INVALID */
  update(name: string, patch: GroupPatch, signal: AbortSignal): Promise<DirectoryRow>;
  remove(name: string, signal: AbortSignal): Promise<void>;
  show(name: string, signal: AbortSignal): Promise<GroupDetails>;
  list(): Promise<readonly DirectoryRow[]>;
  /** @throws MailError INVALID: an address of elsewhere, a group, the group of everyone */
  join(name: string, user: string, signal: AbortSignal): Promise<void>;
  leave(name: string, user: string, signal: AbortSignal): Promise<void>;
  /** Explicit members by account from `after` (exclusive). */
  members(
    name: string,
    after: number,
    most: number,
    signal: AbortSignal,
  ): Promise<readonly DirectoryRow[]>;
  /** @throws MailError INVALID, LIMIT */
  announce(name: string, what: NewAnnouncement, signal: AbortSignal): Promise<AnnouncementId>;
  announcements(name: string, signal: AbortSignal): Promise<readonly Announcement[]>;
  /** Gone from every member's view when it resolves. @throws MailError INVALID: there is none */
  recall(name: string, id: AnnouncementId, signal: AbortSignal): Promise<void>;
  stats(name: string, signal: AbortSignal): Promise<readonly AnnouncementStats[]>;
}
