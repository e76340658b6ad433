// Entries of METADATA: names, lists of them, values, options. Pure. RFC 5464 §3.1, §5

import { openParen, SP, tilde } from "./characters.ts";
import type { Cursor } from "./cursor.ts";

export interface MetadataQuery {
  readonly entries: readonly string[];
  /** How many levels below each entry: 0, 1, or all. RFC 5464 §4.2.2 */
  readonly depth: 0 | 1 | "infinity";
  /** Longer values are left out. RFC 5464 §4.2.1 */
  readonly maxSize: number | undefined;
}

export interface MetadataValue {
  readonly entry: string;
  /** Undefined: NIL, the entry goes. */
  readonly value: Uint8Array | undefined;
}

interface Options {
  depth: MetadataQuery["depth"];
  maxSize: number | undefined;
}

const entriesMax = 256;
const entryLengthMax = 1024;

/** `(DEPTH 1 MAXSIZE 1024) ` before the mailbox; nothing when there are none. */
export function parseMetadataOptions(cursor: Cursor): Options {
  const options: Options = { depth: 0, maxSize: undefined };
  if (cursor.peek() !== openParen) return options;
  readOptions(cursor, options);
  cursor.space();
  return options;
}

/** Entries behind the mailbox. RFC 5464's own examples have the options here: both are taken. */
export function parseMetadataQuery(cursor: Cursor, options: Options): MetadataQuery {
  if (cursor.peek() === openParen && !startsEntries(cursor)) {
    readOptions(cursor, options);
    cursor.space();
  }
  return { entries: parseEntryNames(cursor), ...options };
}

/** `entry`, or `(entry entry)`. */
export function parseEntryNames(cursor: Cursor): readonly string[] {
  const entries: string[] = [];
  const one = (): void => {
    if (entries.length >= entriesMax) return cursor.fail(`more than ${entriesMax} entries`);
    const entry = parseEntryName(cursor);
    if (!entries.includes(entry)) entries.push(entry);
  };
  if (cursor.peek() !== openParen) one();
  else if (cursor.list(one) === 0) cursor.fail("no entries named");
  return entries;
}

/** `(entry value entry value)`. */
export function parseMetadataValues(cursor: Cursor): readonly MetadataValue[] {
  const values = new Map<string, Uint8Array | undefined>();
  const count = cursor.list(() => {
    if (values.size >= entriesMax) return cursor.fail(`more than ${entriesMax} entries`);
    const entry = parseEntryName(cursor);
    cursor.space();
    values.set(entry, cursor.peek() === tilde ? cursor.literal8() : cursor.nstring());
  });
  if (count === 0) cursor.fail("no entries to set");
  return Array.from(values, ([entry, value]) => ({ entry, value }));
}

/** RFC 5464 §3.1: ASCII without wildcards, in any case, below /private or /shared. */
function parseEntryName(cursor: Cursor): string {
  const entry = cursor.astringText().toLowerCase();
  if (!cursor.ok) return entry;
  if (entry.length > entryLengthMax) cursor.fail("the entry name is too long");
  else if (!/^\/(?:private|shared)(?:\/[^/%*\x00-\x19\x7f-\uffff]+)*$/.test(entry)) {
    cursor.fail("entry names are ASCII below /private or /shared, without % * // or / at the end");
  }
  return entry;
}

function startsEntries(cursor: Cursor): boolean {
  const text = Buffer.from(cursor.bytes.subarray(cursor.at, cursor.at + 64)).toString("latin1");
  return !/^\( *(?:DEPTH|MAXSIZE) /i.test(text);
}

function readOptions(cursor: Cursor, options: Options): void {
  cursor.list(() => {
    const name = cursor.word();
    cursor.space();
    if (name === "MAXSIZE") {
      options.maxSize = cursor.number();
      return;
    }
    if (name !== "DEPTH") return cursor.fail("unknown GETMETADATA option");
    const depth = cursor.word();
    if (depth === "0") options.depth = 0;
    else if (depth === "1") options.depth = 1;
    else if (depth === "INFINITY") options.depth = "infinity";
    else cursor.fail("DEPTH is 0, 1 or infinity");
  });
  while (cursor.peek() === SP && cursor.bytes[cursor.at + 1] === SP) cursor.skip(SP);
}

/** True when `name` is `entry` or lies below it, at most `depth` levels. */
export function isWithin(name: string, entry: string, depth: MetadataQuery["depth"]): boolean {
  if (name === entry) return true;
  if (depth === 0 || !name.startsWith(`${entry}/`)) return false;
  return depth === "infinity" || !name.slice(entry.length + 1).includes("/");
}
