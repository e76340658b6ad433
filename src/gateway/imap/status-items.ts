// The items of STATUS and of LIST's RETURN (STATUS …), and their answer. RFC 9051 §6.3.11, §7.3.4

import { enableCondstore } from "./condstore.ts";
import { writeMailbox } from "./names.ts";
import type { Session } from "./session.ts";
import type { Cursor } from "./syntax/cursor.ts";
import { asBuffer } from "../../lib/bytes.ts";
import { uidSetFromSorted } from "../../mail/uid-set.ts";
import type { MailboxInfo } from "../../mail/mail-store.ts";

const itemNames = [
  "MESSAGES",
  "RECENT",
  "UIDNEXT",
  "UIDVALIDITY",
  "UNSEEN",
  "DELETED",
  "SIZE",
  "HIGHESTMODSEQ",
  "APPENDLIMIT",
  "DELETED-STORAGE",
  "MAILBOXID",
] as const;
export type StatusItem = (typeof itemNames)[number];

/** Figures that MailboxInfo doesn't have. */
export interface ExtraStatus {
  readonly deletedBytes: number;
}
const noExtra: ExtraStatus = { deletedBytes: 0 };

/** `(MESSAGES UIDNEXT)`. */
export function parseStatusItems(cursor: Cursor): readonly StatusItem[] {
  const items: StatusItem[] = [];
  const count = cursor.list(() => {
    const name = cursor.word();
    const item = itemNames.find((known) => known === name);
    if (item === undefined) return cursor.fail("unknown STATUS item");
    if (!items.includes(item)) items.push(item);
  });
  if (count === 0) cursor.fail("no STATUS items");
  return items;
}

/** Asks for what the items need beyond `info`, and notes CONDSTORE awareness. RFC 7162 §3.1.7 */
export async function prepareStatus(
  session: Session,
  info: MailboxInfo,
  items: readonly StatusItem[],
): Promise<ExtraStatus> {
  if (items.includes("HIGHESTMODSEQ")) enableCondstore(session);
  if (!items.includes("DELETED-STORAGE") || info.deleted === 0) return noExtra;
  return { deletedBytes: await sizeOfDeleted(session, info) };
}

/** `* STATUS name (MESSAGES 5 …)`. */
export function writeStatus(
  session: Session,
  info: MailboxInfo,
  items: readonly StatusItem[],
  extra: ExtraStatus,
): void {
  const { out } = session;
  out.text("* STATUS ");
  writeMailbox(session, info.name);
  out.text(" (");
  let first = true;
  for (const item of items) {
    out.text(first ? item : ` ${item}`).text(" ");
    if (item === "MAILBOXID") out.text(`(${mailboxObjectId(info)})`);
    else out.number(statusValue(session, info, item, extra));
    first = false;
  }
  out.text(")\r\n");
}

/** RFC 8474 §4: stays with the mailbox when it is renamed, and no other ever has it. */
export function mailboxObjectId({ id, uidValidity }: MailboxInfo): string {
  return `F${uidValidity}-${id}`;
}

function statusValue(
  session: Session,
  info: MailboxInfo,
  item: Exclude<StatusItem, "MAILBOXID">,
  extra: ExtraStatus,
): number {
  switch (item) {
    case "MESSAGES":
      return info.messages;
    case "RECENT":
      return info.recent;
    case "UIDNEXT":
      return info.uidNext;
    case "UIDVALIDITY":
      return info.uidValidity;
    case "UNSEEN":
      return info.unseen;
    case "DELETED":
      return info.deleted;
    case "SIZE":
      return info.sizeBytes;
    case "HIGHESTMODSEQ":
      return info.highestModSeq;
    case "APPENDLIMIT":
      return session.limits.messageBytesMax;
    case "DELETED-STORAGE":
      return extra.deletedBytes;
  }
}

/** RFC 9208 §4.1.4: what an EXPUNGE would free. Rare, so it is added up from the sizes. */
async function sizeOfDeleted(session: Session, info: MailboxInfo): Promise<number> {
  const { services, principal, signal } = session;
  const key = { kind: "flag", flag: "\\Deleted", set: true } as const;
  const { uids } = await services.store.search(principal, { mailbox: info.id, key }, signal);
  if (uids.length === 0) return 0;
  const request = {
    mailbox: info.id,
    uids: uidSetFromSorted(uids),
    items: { size: true },
  };
  let total = 0;
  for await (const { bytes } of services.store.fetch(principal, request, signal)) {
    for (const [, size] of asBuffer(bytes)
      .toString("latin1")
      .matchAll(/RFC822\.SIZE (\d+)/g)) {
      total += Number(size);
    }
  }
  return total;
}
