// The item list of FETCH: macros, header items, BODY[section]<partial>, BINARY, modifiers.
// RFC 9051 §6.4.5, RFC 3501 §6.4.5 (RFC822*), RFC 7162 §3.1.4 (modifiers)

import { Cursor } from "./cursor.ts";
import { parsePartialRange } from "./partial-range.ts";
import type { PartialRange } from "./partial-range.ts";
import {
  closeBracket,
  dot,
  greater,
  isAtomChar,
  isDigit,
  less,
  openBracket,
  openParen,
  SP,
} from "./characters.ts";
import type { FetchItems, FetchSection } from "../../../mail/mail-store.ts";

export interface FetchPlan {
  readonly items: FetchItems;
  readonly uid: boolean;
  /** A section without PEEK is among the items: \Seen is set. */
  readonly setsSeen: boolean;
  readonly changedSince?: number;
  /** RFC 7162 §3.2.6: VANISHED modifier. */
  readonly vanished: boolean;
  /** Of the messages in the set, those in this range of them. RFC 9394 §3.3 */
  readonly partial?: PartialRange;
}

type Flag = Exclude<keyof FetchItems, "sections">;

interface Draft {
  readonly flags: { [K in Flag]?: boolean };
  readonly sections: FetchSection[];
  uid: boolean;
  setsSeen: boolean;
}

const macros = new Map<string, readonly Flag[]>([
  ["ALL", ["flags", "internalDate", "size", "envelope"]],
  ["FAST", ["flags", "internalDate", "size"]],
  ["FULL", ["flags", "internalDate", "size", "envelope", "body"]],
]);

const plainItems = new Map<string, Flag>([
  ["FLAGS", "flags"],
  ["INTERNALDATE", "internalDate"],
  ["RFC822.SIZE", "size"],
  ["ENVELOPE", "envelope"],
  ["BODYSTRUCTURE", "bodyStructure"],
  ["MODSEQ", "modSeq"],
  ["SAVEDATE", "saveDate"],
  ["EMAILID", "emailId"],
  ["THREADID", "threadId"],
]);

const sectionsMax = 256;
const pathMax = 100;

/** Parses all that comes behind the sequence set and its space, to the end of the command. */
export function parseFetch(cursor: Cursor, byUid: boolean): FetchPlan {
  const draft: Draft = { flags: {}, sections: [], uid: byUid, setsSeen: false };
  const macro = macros.get(cursor.peekWord());
  if (macro !== undefined) {
    cursor.word();
    for (const item of macro) draft.flags[item] = true;
  } else if (cursor.peek() === openParen) {
    if (cursor.list(() => parseItem(cursor, draft)) === 0) cursor.fail("no items to fetch");
  } else {
    parseItem(cursor, draft);
  }
  const modifiers = parseModifiers(cursor);
  cursor.end();
  if (modifiers.vanished && (!byUid || modifiers.changedSince === undefined)) {
    // RFC 7162 §3.2.6: VANISHED only with UID FETCH and CHANGEDSINCE.
    cursor.fail("VANISHED needs UID FETCH and CHANGEDSINCE");
  }
  // RFC 7162 §3.1.4.1: CHANGEDSINCE asks for MODSEQ implicitly.
  if (modifiers.changedSince !== undefined) draft.flags.modSeq = true;
  return planOf(draft, modifiers);
}

/** `(UID BODY.PEEK[1])` and nothing else: what NOTIFY wants of new messages. RFC 5465 §8 */
export function parseFetchList(cursor: Cursor): FetchPlan {
  const draft: Draft = { flags: {}, sections: [], uid: false, setsSeen: false };
  if (cursor.list(() => parseItem(cursor, draft)) === 0) cursor.fail("no items to fetch");
  return planOf(draft, { vanished: false });
}

function planOf(draft: Draft, modifiers: Modifiers): FetchPlan {
  const items: FetchItems =
    draft.sections.length > 0 ? { sections: draft.sections, ...draft.flags } : draft.flags;
  return { items, uid: draft.uid, setsSeen: draft.setsSeen, ...modifiers };
}

type Modifiers = Pick<FetchPlan, "vanished" | "changedSince" | "partial">;

function parseModifiers(cursor: Cursor): Modifiers {
  let changedSince: number | undefined;
  let partial: PartialRange | undefined;
  let vanished = false;
  if (cursor.skip(SP) && !cursor.atEnd) {
    cursor.list(() => {
      const name = cursor.word();
      if (name === "CHANGEDSINCE") {
        cursor.space();
        changedSince = cursor.number(Number.MAX_SAFE_INTEGER);
      } else if (name === "PARTIAL") {
        cursor.space();
        if (partial !== undefined) cursor.fail("PARTIAL may be given once");
        partial = parsePartialRange(cursor);
      } else if (name === "VANISHED") vanished = true;
      else cursor.fail("unknown FETCH modifier");
    });
  }
  return {
    vanished,
    ...(changedSince === undefined ? {} : { changedSince }),
    ...(partial === undefined ? {} : { partial }),
  };
}

function parseItem(cursor: Cursor, draft: Draft): void {
  const name = cursor.itemName();
  const plain = plainItems.get(name);
  if (plain !== undefined) {
    draft.flags[plain] = true;
    return;
  }
  switch (name) {
    case "UID":
      draft.uid = true;
      return;
    case "PREVIEW":
      draft.flags.preview = true;
      return parsePreviewModifiers(cursor, draft);
    case "BODY":
      if (cursor.peek() === openBracket) parseSection(cursor, draft, true);
      else draft.flags.body = true;
      return;
    case "BODY.PEEK":
      return parseSection(cursor, draft, false);
    case "BINARY":
      return parseBinary(cursor, draft, "binary", true);
    case "BINARY.PEEK":
      return parseBinary(cursor, draft, "binary", false);
    case "BINARY.SIZE":
      return parseBinary(cursor, draft, "binarySize", false);
    case "RFC822":
      return addSection(cursor, draft, { path: [], kind: "body", label: name }, true);
    case "RFC822.HEADER":
      return addSection(cursor, draft, { path: [], kind: "header", label: name }, false);
    case "RFC822.TEXT":
      return addSection(cursor, draft, { path: [], kind: "text", label: name }, true);
    default:
      cursor.fail("unknown FETCH item");
  }
}

/** ` (LAZY)`, which is no modifier of the FETCH itself. RFC 8970 §6 */
function parsePreviewModifiers(cursor: Cursor, draft: Draft): void {
  if (cursor.peek() !== SP || cursor.bytes[cursor.at + 1] !== openParen) return;
  const rest = new Cursor(cursor.bytes.subarray(cursor.at + 2), 1);
  if (rest.peekWord() !== "LAZY") return;
  cursor.space();
  cursor.list(() => {
    if (cursor.word() !== "LAZY") cursor.fail("unknown PREVIEW modifier");
  });
  draft.flags.previewLazy = true;
}

/** `[1.2.HEADER.FIELDS (Subject)]<0.100>`. */
function parseSection(cursor: Cursor, draft: Draft, setsSeen: boolean): void {
  cursor.expect(openBracket);
  const path = parsePath(cursor);
  const name = cursor.peek() === closeBracket ? "" : cursor.itemName();
  const kind = sectionKind(name);
  if (kind === undefined) return cursor.fail("unknown section");
  if (kind === "mime" && path.length === 0) return cursor.fail("MIME needs a part number");
  const fields = kind === "fields" || kind === "fieldsNot" ? parseFields(cursor) : undefined;
  cursor.expect(closeBracket);
  const partial = parsePartial(cursor);
  const spec = [...path.map(String), ...(name === "" ? [] : [name])].join(".");
  const names = fields === undefined ? "" : ` (${fields.map(fieldLabel).join(" ")})`;
  const section: FetchSection = {
    path,
    kind,
    ...(fields === undefined ? {} : { fields }),
    ...(partial === undefined ? {} : { partial }),
    label: `BODY[${spec}${names}]${partial === undefined ? "" : `<${partial.start}>`}`,
  };
  addSection(cursor, draft, section, setsSeen);
}

/** RFC 9051 §6.4.5.1: BINARY[part]<partial>, BINARY.SIZE[part]. */
function parseBinary(
  cursor: Cursor,
  draft: Draft,
  kind: "binary" | "binarySize",
  setsSeen: boolean,
): void {
  cursor.expect(openBracket);
  const path = parsePath(cursor);
  cursor.expect(closeBracket);
  const partial = kind === "binary" ? parsePartial(cursor) : undefined;
  const item = kind === "binary" ? "BINARY" : "BINARY.SIZE";
  const section: FetchSection = {
    path,
    kind,
    ...(partial === undefined ? {} : { partial }),
    label: `${item}[${path.join(".")}]${partial === undefined ? "" : `<${partial.start}>`}`,
  };
  addSection(cursor, draft, section, setsSeen);
}

function addSection(cursor: Cursor, draft: Draft, section: FetchSection, setsSeen: boolean): void {
  if (draft.sections.length >= sectionsMax) return cursor.fail("too many sections");
  const known = draft.sections.some(
    (other) => other.label === section.label && other.partial?.length === section.partial?.length,
  );
  if (!known) draft.sections.push(section);
  if (setsSeen) draft.setsSeen = true;
}

/** `1.2.` in front of a section name, or `1.2` alone. */
function parsePath(cursor: Cursor): readonly number[] {
  const path: number[] = [];
  while (isDigit(cursor.peek())) {
    const part = cursor.number();
    if (part === 0) cursor.fail("part numbers begin at 1");
    if (path.length >= pathMax) cursor.fail("part number is too deep");
    path.push(part);
    if (!cursor.skip(dot)) {
      if (cursor.peek() !== closeBracket) cursor.fail("expected a part number");
      break;
    }
    if (cursor.peek() === closeBracket) cursor.fail("expected a part number or section name");
  }
  return path;
}

function sectionKind(name: string): FetchSection["kind"] | undefined {
  switch (name) {
    case "":
      return "body";
    case "HEADER":
      return "header";
    case "TEXT":
      return "text";
    case "MIME":
      return "mime";
    case "HEADER.FIELDS":
      return "fields";
    case "HEADER.FIELDS.NOT":
      return "fieldsNot";
    default:
      return undefined;
  }
}

function parseFields(cursor: Cursor): readonly string[] {
  cursor.space();
  const fields: string[] = [];
  const count = cursor.list(() => {
    const field = cursor.astringText();
    // A name with a line end would let the client write into our answer's label.
    if (!/^[\x20-\x7e]*$/.test(field)) cursor.fail("header field name is not printable ASCII");
    fields.push(field);
  });
  if (count === 0) cursor.fail("no header fields named");
  return fields;
}

/** `<start.length>`. RFC 9051 §6.4.5: the length is not 0. */
function parsePartial(cursor: Cursor): { start: number; length: number } | undefined {
  if (!cursor.skip(less)) return undefined;
  const start = cursor.number(Number.MAX_SAFE_INTEGER);
  cursor.expect(dot);
  const length = cursor.number(Number.MAX_SAFE_INTEGER);
  cursor.expect(greater);
  if (length === 0) cursor.fail("partial length is 0");
  return { start, length };
}

function fieldLabel(field: string): string {
  for (let i = 0; i < field.length; i++) {
    if (!isAtomChar(field.charCodeAt(i))) return quoted(field);
  }
  return field === "" ? '""' : field;
}
function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}
