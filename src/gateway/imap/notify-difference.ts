// What NOTIFY tells of mailboxes that are not selected: the difference between two listings, and
// between two states of annotations, as far as the client asked for it. Writes; asks nobody.
// RFC 5465 §5

import type { MailboxId } from "../../mail/ids.ts";
import type { MailboxAnnotations, MailboxInfo, MailboxListing } from "../../mail/mail-store.ts";
import { chooseMailboxes } from "./mailbox-filter.ts";
import { writeMailbox } from "./names.ts";
import { writeString } from "./responses.ts";
import type { Session } from "./session.ts";
import type { NotifyEvents, NotifyGroup } from "./syntax/notify-groups.ts";

/** A mailbox as the client knows it, and what it wants to hear of it. */
export interface KnownMailbox {
  readonly info: MailboxInfo;
  /** Undefined: nothing. */
  readonly events: NotifyEvents | undefined;
}
export type KnownMailboxes = ReadonlyMap<MailboxId, KnownMailbox>;

/** Each mailbox with the events of the first group that it is in. RFC 5465 §6: NONE excludes it */
export function matchGroups(
  listing: MailboxListing,
  groups: readonly NotifyGroup[],
): KnownMailboxes {
  const events = new Map<MailboxId, NotifyEvents>();
  for (const group of groups) {
    if (group.filter.kind === "selected") continue;
    for (const { id } of chooseMailboxes(listing, [group.filter.filter], undefined)) {
      if (!events.has(id)) events.set(id, group.events);
    }
  }
  return new Map(
    listing.mailboxes
      .filter(({ selectable }) => selectable)
      .map((info) => [info.id, { info, events: events.get(info.id) }]),
  );
}

/** RFC 5465 §3.1: the STATUS of every mailbox with message events, before the OK. */
export function writeFirstStatus(session: Session, known: KnownMailboxes): void {
  for (const { info, events } of known.values()) {
    if (events === undefined || info.id === session.selected?.id) continue;
    const items: (readonly [string, number])[] = [];
    if (events.messageNew) items.push(["MESSAGES", info.messages], ["UIDNEXT", info.uidNext]);
    if (events.messageNew) items.push(["UIDVALIDITY", info.uidValidity]);
    if (events.flagChange) items.push(["HIGHESTMODSEQ", info.highestModSeq]);
    if (items.length > 0) writeStatusItems(session, info, items);
  }
}

/** How many mailboxes have something to tell. */
export function countChanges(before: KnownMailboxes, now: KnownMailboxes): number {
  let count = 0;
  for (const [id, { info }] of now) {
    const old = before.get(id)?.info;
    if (
      old?.highestModSeq !== info.highestModSeq ||
      old.name !== info.name ||
      old.subscribed !== info.subscribed
    ) {
      count++;
    }
  }
  for (const id of before.keys()) if (!now.has(id)) count++;
  return count;
}

/** Tells what has changed. Message events of the selected mailbox are told by selected.ts. */
export function writeDifference(
  session: Session,
  before: KnownMailboxes,
  now: KnownMailboxes,
): void {
  for (const [id, { info, events }] of before) {
    // RFC 5465 §5.4: a name that is no more.
    if (now.has(id) || events?.mailboxName !== true) continue;
    writeList(session, info.name, ["\\NonExistent"], undefined);
  }
  for (const [id, { info, events }] of now) {
    const old = before.get(id);
    tellName(session, info, events, old);
    if (id === session.selected?.id || events?.messageNew !== true) continue;
    tellMessages(session, info, events, old?.info);
  }
}

function tellName(
  session: Session,
  info: MailboxInfo,
  events: NotifyEvents | undefined,
  old: KnownMailbox | undefined,
): void {
  const attributes = info.subscribed ? ["\\Subscribed"] : [];
  const renamed = old !== undefined && old.info.name !== info.name;
  const named = events?.mailboxName === true || (renamed && old.events?.mailboxName === true);
  if (named && (old === undefined || renamed)) {
    writeList(session, info.name, attributes, old?.info.name);
    return;
  }
  // RFC 5465 §5.5
  if (events?.subscriptionChange !== true || old === undefined) return;
  if (old.info.subscribed !== info.subscribed) writeList(session, info.name, attributes, undefined);
}

/** RFC 5465 §5.1 to §5.3 */
function tellMessages(
  session: Session,
  info: MailboxInfo,
  events: NotifyEvents,
  old: MailboxInfo | undefined,
): void {
  const { messages = 0, uidNext = 1, highestModSeq = 1 } = old ?? {};
  const modSeq = ["HIGHESTMODSEQ", info.highestModSeq] as const;
  if (info.messages !== messages || info.uidNext !== uidNext) {
    const items = [["MESSAGES", info.messages] as const, ["UIDNEXT", info.uidNext] as const];
    // RFC 5465 §5.2: with CONDSTORE the MODSEQ, too.
    writeStatusItems(session, info, session.condstore ? [...items, modSeq] : items);
  } else if (events.flagChange && info.highestModSeq !== highestModSeq) {
    writeStatusItems(session, info, [["UIDVALIDITY", info.uidValidity], modSeq]);
  }
}

function writeStatusItems(
  session: Session,
  { name }: MailboxInfo,
  items: readonly (readonly [string, number])[],
): void {
  session.out.text("* STATUS ");
  writeMailbox(session, name);
  const text = items.map(([item, value]) => `${item} ${value}`).join(" ");
  session.out.text(` (${text})\r\n`);
}

/** `* LIST (\Subscribed) "/" name ("OLDNAME" ("old"))`. RFC 5465 §5.4 */
function writeList(
  session: Session,
  name: string,
  attributes: readonly string[],
  oldName: string | undefined,
): void {
  const { out } = session;
  out.text(`* LIST (${attributes.join(" ")}) "/" `);
  writeMailbox(session, name);
  if (oldName !== undefined) {
    out.text(' ("OLDNAME" (');
    writeMailbox(session, oldName);
    out.text("))");
  }
  out.text("\r\n");
}

/** Annotations by mailbox and entry, values in a short form. */
export type KnownAnnotations = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** @param digest Of a value: equal for equal ones. */
export function knownAnnotations(
  all: readonly MailboxAnnotations[],
  digest: (value: Uint8Array) => string,
): KnownAnnotations {
  return new Map(
    all.map(({ mailbox, annotations }) => [
      mailbox,
      new Map(annotations.map(({ entry, value }) => [entry, digest(value)])),
    ]),
  );
}

/** `* METADATA name entry entry`: which entries have changed. RFC 5464 §4.4.2, RFC 5465 §5.6, §5.7 */
export function writeAnnotationDifference(
  session: Session,
  before: KnownAnnotations,
  now: KnownAnnotations,
  wants: (mailbox: string) => boolean,
): void {
  for (const mailbox of new Set([...before.keys(), ...now.keys()])) {
    if (!wants(mailbox)) continue;
    const old = before.get(mailbox) ?? new Map<string, string>();
    const current = now.get(mailbox) ?? new Map<string, string>();
    const changed = [...new Set([...old.keys(), ...current.keys()])].filter(
      (entry) => old.get(entry) !== current.get(entry),
    );
    if (changed.length === 0) continue;
    session.out.text("* METADATA ");
    writeMailbox(session, mailbox);
    for (const entry of changed.toSorted()) {
      session.out.text(" ");
      writeString(session.out, entry, false);
    }
    session.out.text("\r\n");
  }
}
