// LIST, extended LIST and LSUB. RFC 9051 §6.3.9, RFC 3501 §6.3.9, RFC 5258, RFC 5819 (STATUS),
// RFC 8440 (MYRIGHTS), RFC 9590 (METADATA)

import { command, loggedIn } from "../command.ts";
import { writeMyRights } from "./acl.ts";
import { writeMetadata } from "./metadata.ts";
import { chooseNames, chooseSubscribed } from "../list-names.ts";
import type { ListedName } from "../list-names.ts";
import { countWildcards, wildcardsMax } from "../list-pattern.ts";
import { writeMailbox } from "../names.ts";
import { ok } from "../reply.ts";
import type { Session } from "../session.ts";
import { parseStatusItems, prepareStatus, writeStatus } from "../status-items.ts";
import type { StatusItem } from "../status-items.ts";
import { openParen, SP } from "../syntax/characters.ts";
import type { Cursor } from "../syntax/cursor.ts";
import { parseEntryNames } from "../syntax/metadata-entries.ts";
import { decodeModifiedUtf7 } from "../../../mail/mailbox-name.ts";

const patternsMax = 64;

export const list = command({
  name: "LIST",
  states: loggedIn,
  parse: parseList,
  async run(session, { request, returns, isRootQuery }) {
    if (isRootQuery) {
      // RFC 9051 §6.3.9: an empty pattern asks for the delimiter.
      session.out.text('* LIST (\\Noselect) "/" ""\r\n');
      return ok("LIST completed");
    }
    const { store } = session.services;
    const listing = await store.listMailboxes(session.principal, session.signal);
    const annotations = await annotationsFor(session, returns.metadata);
    for (const listed of chooseNames(listing, {
      ...request,
      extended: request.extended || session.rev2,
    })) {
      writeListed(session, "LIST", listed);
      await writeReturns(session, listed, returns, annotations);
      // Names of annotations come back with every mailbox, so that the answer may be very long.
      if (session.out.full) await session.out.drained(session.signal);
    }
    return ok("LIST completed");
  },
});

export const lsub = command({
  name: "LSUB",
  states: loggedIn,
  parse(cursor, session) {
    cursor.space();
    const reference = patternText(cursor, cursor.astring(), session);
    cursor.space();
    const pattern = patternText(cursor, cursor.listMailbox(), session);
    cursor.end();
    return { reference, pattern };
  },
  async run(session, { reference, pattern }) {
    const { store } = session.services;
    const listing = await store.listMailboxes(session.principal, session.signal);
    for (const listed of chooseSubscribed(listing, reference, pattern)) {
      writeListed(session, "LSUB", listed);
    }
    return ok("LSUB completed");
  },
});

type Annotations = ReadonlyMap<string, ReadonlyMap<string, Uint8Array>>;

/** All annotations at once: they are few, and one round trip is better than one a mailbox. */
async function annotationsFor(
  session: Session,
  entries: readonly string[] | undefined,
): Promise<Annotations> {
  if (entries === undefined) return new Map();
  const { store } = session.services;
  const request = { mailbox: undefined };
  const all = await store.annotations(session.principal, request, session.signal);
  return new Map(
    all.map(({ mailbox, annotations }) => [
      mailbox,
      new Map(annotations.map(({ entry, value }) => [entry, value])),
    ]),
  );
}

/** What RETURN asked for of a mailbox, behind its LIST. */
async function writeReturns(
  session: Session,
  { info }: ListedName,
  { statusItems, myRights, metadata }: Returns,
  annotations: Annotations,
): Promise<void> {
  if (info?.selectable !== true) return;
  if (statusItems !== undefined) {
    const extra = await prepareStatus(session, info, statusItems);
    writeStatus(session, info, statusItems, extra);
  }
  if (myRights) writeMyRights(session, info);
  if (metadata === undefined) return;
  // RFC 9590 §3: one response a mailbox, NIL for what has no value.
  const values = annotations.get(info.name);
  const wanted = metadata.map((entry) => ({ entry, value: values?.get(entry) }));
  writeMetadata(session, info.name, wanted);
}

/** `* LIST (\HasNoChildren) "/" name ("CHILDINFO" ("SUBSCRIBED"))`. */
function writeListed(session: Session, response: string, listed: ListedName): void {
  const { out } = session;
  out.text("* ").text(response).text(" (").text(listed.attributes.join(" ")).text(') "/" ');
  writeMailbox(session, listed.name);
  if (listed.childInfo.length > 0) {
    out.text(` ("CHILDINFO" (${listed.childInfo.map((option) => `"${option}"`).join(" ")}))`);
  }
  out.text("\r\n");
}

interface Selection {
  subscribedOnly: boolean;
  specialUseOnly: boolean;
  recursiveMatch: boolean;
}
interface Returns {
  returnSubscribed: boolean;
  statusItems: readonly StatusItem[] | undefined;
  myRights: boolean;
  metadata: readonly string[] | undefined;
}

function parseList(cursor: Cursor, session: Session) {
  const selection: Selection = {
    subscribedOnly: false,
    specialUseOnly: false,
    recursiveMatch: false,
  };
  const returns: Returns = {
    returnSubscribed: false,
    statusItems: undefined,
    myRights: false,
    metadata: undefined,
  };
  let extended = false;
  cursor.space();
  if (cursor.peek() === openParen) {
    extended = true;
    parseSelection(cursor, selection);
    cursor.space();
  }
  const reference = patternText(cursor, cursor.astring(), session);
  cursor.space();
  const patterns: string[] = [];
  if (cursor.peek() === openParen) {
    extended = true;
    cursor.list(() => {
      if (patterns.length >= patternsMax) return cursor.fail("too many patterns");
      patterns.push(patternText(cursor, cursor.listMailbox(), session));
    });
    if (patterns.length === 0) cursor.fail("no patterns");
  } else {
    patterns.push(patternText(cursor, cursor.listMailbox(), session));
  }
  if (cursor.skip(SP) && !cursor.atEnd) {
    extended = true;
    if (cursor.word() !== "RETURN") cursor.fail("expected RETURN");
    cursor.space();
    parseReturns(cursor, returns);
  }
  cursor.end();
  const { returnSubscribed } = returns;
  const request = { reference, patterns, ...selection, returnSubscribed, extended };
  return { request, returns, isRootQuery: !extended && patterns[0] === "" };
}

/** RFC 5258 §3.1 selection options. */
function parseSelection(cursor: Cursor, selection: Selection): void {
  cursor.list(() => {
    switch (cursor.word()) {
      case "SUBSCRIBED":
        selection.subscribedOnly = true;
        return;
      case "SPECIAL-USE":
        selection.specialUseOnly = true;
        return;
      case "RECURSIVEMATCH":
        selection.recursiveMatch = true;
        return;
      case "REMOTE":
        return; // There are no remote mailboxes to add.
      default:
        cursor.fail("unknown LIST selection option");
    }
  });
  // RFC 5258 §3.1: RECURSIVEMATCH alone selects nothing.
  if (selection.recursiveMatch && !selection.subscribedOnly && !selection.specialUseOnly) {
    cursor.fail("RECURSIVEMATCH needs another selection option");
  }
}

/** RFC 5258 §3.2 return options; CHILDREN and SPECIAL-USE are always told. */
function parseReturns(cursor: Cursor, returns: Returns): void {
  cursor.list(() => {
    switch (cursor.word()) {
      case "SUBSCRIBED":
        returns.returnSubscribed = true;
        return;
      case "CHILDREN":
      case "SPECIAL-USE":
        return;
      case "STATUS":
        cursor.space();
        returns.statusItems = parseStatusItems(cursor);
        return;
      case "MYRIGHTS":
        returns.myRights = true;
        return;
      case "METADATA":
        cursor.space();
        returns.metadata = parseEntryNames(cursor);
        return;
      default:
        cursor.fail("unknown LIST return option");
    }
  });
}

/** A pattern or reference in Unicode. Broken modified UTF-7 stays as it is: it matches nothing. */
function patternText(cursor: Cursor, bytes: Uint8Array, session: Session): string {
  const text = cursor.text(bytes);
  if (countWildcards(text) > wildcardsMax) cursor.fail("pattern has too many wildcards");
  return (session.utf8 ? text : (decodeModifiedUtf7(text) ?? text)).normalize("NFC");
}
