// What LIST and LSUB choose from a mailbox listing, and with which attributes. Pure.
// RFC 9051 §6.3.9, RFC 5258, RFC 6154

import type { MailboxInfo, MailboxListing } from "../../mail/mail-store.ts";
import { hierarchyDelimiter } from "../../mail/mailbox-name.ts";
import { matchesPattern } from "./list-pattern.ts";

export interface ListRequest {
  readonly reference: string;
  readonly patterns: readonly string[];
  readonly subscribedOnly: boolean;
  readonly specialUseOnly: boolean;
  readonly recursiveMatch: boolean;
  readonly returnSubscribed: boolean;
  /** LIST-EXTENDED syntax was used, or IMAP4rev2 is on: \NonExistent is understood. */
  readonly extended: boolean;
}

export interface ListedName {
  readonly name: string;
  readonly attributes: readonly string[];
  /** RFC 5258 §3.5: chosen because of a child, under this selection option. */
  readonly childInfo: readonly string[];
  /** The mailbox, when the name is one. */
  readonly info: MailboxInfo | undefined;
}

interface Candidate {
  readonly name: string;
  readonly info: MailboxInfo | undefined;
  readonly subscribed: boolean;
}

/** The names to list, sorted, INBOX first. */
export function chooseNames(listing: MailboxListing, request: ListRequest): readonly ListedName[] {
  const candidates = allCandidates(listing, request);
  const parents = parentsOf([...candidates.values()].filter((each) => each.info !== undefined));
  const chosenBelow = request.recursiveMatch
    ? parentsOf([...candidates.values()].filter((each) => isChosen(each, request)))
    : new Set<string>();
  const patterns = request.patterns.map((pattern) => request.reference + pattern);
  return [...candidates.values()]
    .filter(({ name }) => patterns.some((pattern) => matchesPattern(name, pattern)))
    .filter((each) => isChosen(each, request) || chosenBelow.has(each.name))
    .toSorted((a, b) => compareNames(a.name, b.name))
    .map((each) => ({
      name: each.name,
      attributes: attributesOf(each, request, parents.has(each.name)),
      childInfo: chosenBelow.has(each.name) ? selectionNames(request) : [],
      info: each.info,
    }));
}

/** LSUB: subscribed names, and with `%` their parents as \Noselect. RFC 3501 §6.3.9 */
export function chooseSubscribed(
  listing: MailboxListing,
  reference: string,
  pattern: string,
): readonly ListedName[] {
  const full = reference + pattern;
  const byName = new Map(listing.mailboxes.map((info) => [info.name, info]));
  const subscribed = [
    ...listing.mailboxes.filter((info) => info.subscribed).map((info) => info.name),
    ...listing.orphanSubscriptions,
  ];
  const found = new Map<string, ListedName>();
  for (const name of subscribed) {
    if (!matchesPattern(name, full)) continue;
    const selectable = byName.get(name)?.selectable === true;
    const attributes = selectable ? [] : ["\\Noselect"];
    found.set(name, { name, attributes, childInfo: [], info: byName.get(name) });
  }
  if (full.includes("%")) {
    for (const name of ancestorsOf(subscribed)) {
      if (found.has(name) || !matchesPattern(name, full)) continue;
      found.set(name, { name, attributes: ["\\Noselect"], childInfo: [], info: undefined });
    }
  }
  return [...found.values()].toSorted((a, b) => compareNames(a.name, b.name));
}

function allCandidates(
  listing: MailboxListing,
  request: ListRequest,
): ReadonlyMap<string, Candidate> {
  const all = new Map<string, Candidate>();
  for (const info of listing.mailboxes) {
    all.set(info.name, { name: info.name, info, subscribed: info.subscribed });
  }
  if (request.subscribedOnly) {
    for (const name of listing.orphanSubscriptions) {
      all.set(name, { name, info: undefined, subscribed: true });
    }
    for (const name of ancestorsOf(listing.orphanSubscriptions)) {
      if (!all.has(name)) all.set(name, { name, info: undefined, subscribed: false });
    }
  }
  return all;
}

function isChosen({ info, subscribed }: Candidate, request: ListRequest): boolean {
  if (request.subscribedOnly && !subscribed) return false;
  if (request.specialUseOnly && info?.specialUse === undefined) return false;
  return true;
}

function attributesOf(
  { info, subscribed }: Candidate,
  request: ListRequest,
  hasChildren: boolean,
): readonly string[] {
  const attributes: string[] = [];
  if (info?.selectable !== true) {
    // RFC 9051 §7.3.1: \NonExistent implies \Noselect, which older clients know.
    if (request.extended) attributes.push("\\NonExistent");
    attributes.push("\\Noselect");
  }
  attributes.push(hasChildren ? "\\HasChildren" : "\\HasNoChildren");
  if (subscribed && (request.subscribedOnly || request.returnSubscribed)) {
    attributes.push("\\Subscribed");
  }
  if (info?.specialUse !== undefined) attributes.push(info.specialUse);
  return attributes;
}

function selectionNames(request: ListRequest): readonly string[] {
  return [
    ...(request.subscribedOnly ? ["SUBSCRIBED"] : []),
    ...(request.specialUseOnly ? ["SPECIAL-USE"] : []),
  ];
}

function parentsOf(candidates: readonly Candidate[]): ReadonlySet<string> {
  return ancestorsOf(candidates.map(({ name }) => name));
}

/** Every name above one of `names`. */
function ancestorsOf(names: readonly string[]): ReadonlySet<string> {
  const above = new Set<string>();
  for (const name of names) {
    for (let at = name.lastIndexOf(hierarchyDelimiter); at > 0; ) {
      const parent = name.slice(0, at);
      if (above.has(parent)) break;
      above.add(parent);
      at = parent.lastIndexOf(hierarchyDelimiter);
    }
  }
  return above;
}

function compareNames(a: string, b: string): number {
  if (a === b) return 0;
  if (a === "INBOX") return -1;
  if (b === "INBOX") return 1;
  return a < b ? -1 : 1;
}
