// The program of SEARCH as the SearchKey that the mail node evaluates. Charset, sequence numbers and
// what only the session knows ($, RECENT) come from the caller. RFC 9051 §6.4.4

import type { Cursor } from "./cursor.ts";
import { closeParen, dollar, openParen, quote, SP } from "./characters.ts";
import { dayArgument } from "./date-time.ts";
import { atSequenceSet, parseSequenceSet } from "./sequence-set.ts";
import type { SequenceSet } from "./sequence-set.ts";
import type { SearchKey } from "../../../mail/search-key.ts";
import { uidMax } from "../../../mail/ids.ts";
import type { UidSet } from "../../../mail/uid-set.ts";

/** What the session lends to the parser. */
export interface SearchContext {
  /** Message numbers can't be used. RFC 9586 §3.2 */
  readonly uidOnly?: boolean;
  /** UIDs of a set of sequence numbers; numbers behind the last message name nothing. */
  readonly sequence: (set: SequenceSet) => UidSet;
  readonly uids: (set: SequenceSet) => UidSet;
  readonly recent: () => UidSet;
  readonly nowMs: number;
  /** Text of a string in the command's charset. */
  readonly decode: (bytes: Uint8Array) => string;
}

export interface SearchProgram {
  readonly key: SearchKey;
  /** MODSEQ was among the keys: answers carry it. RFC 7162 §3.1.5 */
  readonly modSeq: boolean;
}

/** State of one parse: NOT and OR nest without parentheses, so depth is counted here too. */
interface Parse {
  readonly cursor: Cursor;
  readonly context: SearchContext;
  readonly depthMax: number;
  depth: number;
  modSeq: boolean;
}

type KeyParser = (parse: Parse) => SearchKey;

/** Parses `key SP key …` to the end of the command. */
export function parseSearchProgram(
  cursor: Cursor,
  context: SearchContext,
  depthMax: number,
): SearchProgram {
  const parse: Parse = { cursor, context, depthMax, depth: 0, modSeq: false };
  const key = parseKeys(parse);
  cursor.end();
  return { key, modSeq: parse.modSeq };
}

function parseKeys(parse: Parse): SearchKey {
  const { cursor } = parse;
  const keys: SearchKey[] = [];
  for (;;) {
    keys.push(parseKey(parse));
    if (!cursor.ok || !cursor.skip(SP)) break;
    while (cursor.skip(SP));
    if (cursor.atEnd || cursor.peek() === closeParen) break;
  }
  const [only] = keys;
  return keys.length === 1 && only !== undefined ? only : { kind: "and", keys };
}

function parseKey(parse: Parse): SearchKey {
  const { cursor } = parse;
  if (++parse.depth > parse.depthMax) cursor.fail(`search keys nest deeper than ${parse.depthMax}`);
  const key = cursor.ok ? parseKeyInside(parse) : all;
  parse.depth--;
  return key;
}

function parseKeyInside(parse: Parse): SearchKey {
  const { cursor, context } = parse;
  if (cursor.peek() === openParen) {
    cursor.open();
    const key = parseKeys(parse);
    if (!cursor.close()) cursor.fail("search key list is not closed");
    return key;
  }
  if (context.uidOnly === true && atSequenceSet(cursor) && cursor.peek() !== dollar) {
    cursor.fail("message numbers can't be used", "UIDREQUIRED");
  }
  if (atSequenceSet(cursor))
    return { kind: "uid", set: context.sequence(parseSequenceSet(cursor)) };
  const parser = keyParsers.get(cursor.word());
  if (parser === undefined) {
    cursor.fail("unknown search key");
    return all;
  }
  return parser(parse);
}

const all: SearchKey = { kind: "all" };

const keyParsers: ReadonlyMap<string, KeyParser> = new Map<string, KeyParser>([
  ["ALL", () => all],
  ["ANSWERED", flag("\\Answered", true)],
  ["DELETED", flag("\\Deleted", true)],
  ["DRAFT", flag("\\Draft", true)],
  ["FLAGGED", flag("\\Flagged", true)],
  ["SEEN", flag("\\Seen", true)],
  ["UNANSWERED", flag("\\Answered", false)],
  ["UNDELETED", flag("\\Deleted", false)],
  ["UNDRAFT", flag("\\Draft", false)],
  ["UNFLAGGED", flag("\\Flagged", false)],
  ["UNSEEN", flag("\\Seen", false)],
  ["KEYWORD", keyword(true)],
  ["UNKEYWORD", keyword(false)],
  ["BCC", header("Bcc")],
  ["CC", header("Cc")],
  ["FROM", header("From")],
  ["SUBJECT", header("Subject")],
  ["TO", header("To")],
  ["BODY", (parse) => ({ kind: "body", text: searchText(parse) })],
  ["TEXT", (parse) => ({ kind: "text", text: searchText(parse) })],
  ["HEADER", anyHeader],
  ["BEFORE", date("internal", "before")],
  ["ON", date("internal", "on")],
  ["SINCE", date("internal", "since")],
  ["SENTBEFORE", date("sent", "before")],
  ["SENTON", date("sent", "on")],
  ["SENTSINCE", date("sent", "since")],
  ["SAVEDBEFORE", date("saved", "before")],
  ["SAVEDON", date("saved", "on")],
  ["SAVEDSINCE", date("saved", "since")],
  // RFC 8514 §4.3: every mailbox has save dates.
  ["SAVEDATESUPPORTED", () => all],
  ["EMAILID", objectId("emailId")],
  ["THREADID", objectId("threadId")],
  ["LARGER", size("larger")],
  ["SMALLER", size("smaller")],
  ["YOUNGER", age("younger")],
  ["OLDER", age("older")],
  ["UID", uid],
  ["NOT", not],
  ["OR", or],
  ["MODSEQ", modSeq],
  ["RECENT", ({ context }) => ({ kind: "uid", set: context.recent() })],
  ["OLD", ({ context }) => ({ kind: "not", key: { kind: "uid", set: context.recent() } })],
  ["NEW", newKey],
]);

function flag(name: string, set: boolean): KeyParser {
  const key: SearchKey = { kind: "flag", flag: name, set };
  return () => key;
}
function keyword(set: boolean): KeyParser {
  return ({ cursor }) => {
    cursor.space();
    return { kind: "flag", flag: cursor.flagAtom(), set };
  };
}
function header(name: string): KeyParser {
  return (parse) => ({ kind: "header", name, text: searchText(parse) });
}
function anyHeader(parse: Parse): SearchKey {
  parse.cursor.space();
  const name = parse.cursor.astringText();
  return { kind: "header", name, text: searchText(parse) };
}
/** RFC 8474 §6 */
function objectId(kind: "emailId" | "threadId"): KeyParser {
  return ({ cursor }) => {
    cursor.space();
    const id = cursor.atom();
    if (!/^[\w-]{1,255}$/.test(id)) cursor.fail("that is no object id");
    return { kind, id };
  };
}
function date(of: "internal" | "sent" | "saved", op: "before" | "on" | "since"): KeyParser {
  return ({ cursor }) => {
    cursor.space();
    return { kind: "date", of, op, day: dayArgument(cursor) };
  };
}
function size(op: "larger" | "smaller"): KeyParser {
  return ({ cursor }) => {
    cursor.space();
    return { kind: "size", op, bytes: cursor.number(Number.MAX_SAFE_INTEGER) };
  };
}
/** RFC 5032 §3: YOUNGER and OLDER take seconds, not 0. */
function age(op: "younger" | "older"): KeyParser {
  return ({ cursor, context }) => {
    cursor.space();
    const seconds = cursor.number();
    if (seconds === 0) cursor.fail("interval is 0");
    return { kind: "age", op, seconds, nowMs: context.nowMs };
  };
}
function uid({ cursor, context }: Parse): SearchKey {
  cursor.space();
  return { kind: "uid", set: context.uids(parseSequenceSet(cursor)) };
}
function not(parse: Parse): SearchKey {
  parse.cursor.space();
  return { kind: "not", key: parseKey(parse) };
}
function or(parse: Parse): SearchKey {
  parse.cursor.space();
  const a = parseKey(parse);
  parse.cursor.space();
  return { kind: "or", a, b: parseKey(parse) };
}
/** RFC 3501 §6.4.4: NEW is RECENT UNSEEN. */
function newKey({ context }: Parse): SearchKey {
  return {
    kind: "and",
    keys: [
      { kind: "uid", set: context.recent() },
      { kind: "flag", flag: "\\Seen", set: false },
    ],
  };
}
/** RFC 7162 §3.1.5: an entry name and type may come first; we keep one MODSEQ for all flags. */
function modSeq(parse: Parse): SearchKey {
  const { cursor } = parse;
  cursor.space();
  parse.modSeq = true;
  if (cursor.peek() === quote) {
    cursor.string();
    cursor.space();
    if (!["ALL", "PRIV", "SHARED"].includes(cursor.word()))
      cursor.fail("unknown MODSEQ entry type");
    cursor.space();
  }
  return { kind: "modseq", least: cursor.number(Number.MAX_SAFE_INTEGER) };
}

function searchText({ cursor, context }: Parse): string {
  cursor.space();
  const bytes = cursor.astring();
  return cursor.ok ? context.decode(bytes) : "";
}

/** The set of all UIDs from `from` on. */
export function uidsFrom(from: number): UidSet {
  return from > 0 && from <= uidMax ? [from, uidMax] : [];
}
