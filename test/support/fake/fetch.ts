// FETCH answers of the fake, rendered as IMAP text.

import { MailError } from "../../../src/mail/errors.ts";
import { chunkOf } from "../../../src/mail/fetch-parts.ts";
import { uidSetHas } from "../../../src/mail/uid-set.ts";
import type {
  FetchChunk,
  FetchItems,
  FetchRequest,
  FetchSection,
  FlagColumns,
  FlagsRequest,
} from "../../../src/mail/mail-store.ts";
import type { PartIndex } from "../../../src/mail/message-index.ts";
import { decodedPartText } from "../../../src/mail/mime/text.ts";
import { previewText } from "../../../src/mail/preview-text.ts";
import type { FakeMailbox, FakeMessage } from "./account.ts";
import { threadIdOf } from "./search.ts";
import { isDecodable, sectionBytes } from "./sections.ts";

const pieceBytesMax = 64 * 1024;
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export function* fetchChunks(mailbox: FakeMailbox, request: FetchRequest): Generator<FetchChunk> {
  const all = request.evenGone === true ? withGone(mailbox) : mailbox.messages;
  const wanted = all.filter(
    ({ uid, modSeq }) => uidSetHas(request.uids, uid) && modSeq > (request.changedSince ?? 0),
  );
  let unknownEncoding = false;
  for (const message of wanted) {
    const binary = (request.items.sections ?? []).filter(({ kind }) => kind.startsWith("binary"));
    unknownEncoding ||= binary.some((section) => !isDecodable(message, section));
    const recent = (request.recentFrom ?? 0) > 0 && message.uid >= (request.recentFrom ?? 0);
    const bytes = renderMessage(message, request.items, recent);
    const { sections: _, ...head } = request.items;
    // Heads are not divided, and shorter than a piece here.
    const sectionsAt = renderMessage(message, head, recent).length;
    for (let at = 0; at < bytes.length; at += pieceBytesMax) {
      const piece = bytes.subarray(at, at + pieceBytesMax);
      const more = at + pieceBytesMax < bytes.length;
      const part = { uid: message.uid, bytes: piece, more };
      yield chunkOf([at === 0 && more ? { ...part, sectionsAt } : part]);
    }
  }
  if (unknownEncoding) throw new MailError({ code: "UNKNOWN_ENCODING" });
}

export function flagsOf(mailbox: FakeMailbox, request: FlagsRequest): FlagColumns {
  const { uids, changedSince = 0, wantModSeqs } = request;
  const wanted = mailbox.messages.filter(
    ({ uid, modSeq }) => uidSetHas(uids, uid) && modSeq > changedSince,
  );
  const texts = [...new Set(wanted.map(({ flags }) => flags.join(" ")))];
  return {
    uids: Uint32Array.from(wanted, ({ uid }) => uid),
    lists: texts.map((text) => (text === "" ? [] : text.split(" "))),
    which: Uint32Array.from(wanted, ({ flags }) => texts.indexOf(flags.join(" "))),
    modSeqs: Float64Array.from(wantModSeqs ? wanted : [], ({ modSeq }) => modSeq),
  };
}

function withGone(mailbox: FakeMailbox): readonly FakeMessage[] {
  return [...mailbox.gone, ...mailbox.messages].sort((a, b) => a.uid - b.uid);
}

/** `19-Jul-1996 02:44:25 -0700`, the day with two places. RFC 9051 §9 date-time */
export function imapDate(ms: number, zoneMinutes: number): string {
  const at = new Date(ms + zoneMinutes * 60_000);
  const two = (value: number): string => String(value).padStart(2, "0");
  const date = `${String(at.getUTCDate()).padStart(2, " ")}-${months[at.getUTCMonth()]}-${at.getUTCFullYear()}`;
  const time = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
  const zone = Math.abs(zoneMinutes);
  return `${date} ${time} ${zoneMinutes < 0 ? "-" : "+"}${two(Math.floor(zone / 60))}${two(zone % 60)}`;
}

function renderMessage(message: FakeMessage, items: FetchItems, recent: boolean): Uint8Array {
  const { index } = message;
  const out: (string | Uint8Array)[] = [`UID ${message.uid}`];
  if (items.flags === true) {
    out.push(` FLAGS (${[...message.flags, ...(recent ? ["\\Recent"] : [])].join(" ")})`);
  }
  if (items.modSeq === true) out.push(` MODSEQ (${message.modSeq})`);
  if (items.internalDate === true) {
    out.push(` INTERNALDATE "${imapDate(message.internalDateMs, message.internalDateZone)}"`);
  }
  if (items.size === true) out.push(` RFC822.SIZE ${message.body.length}`);
  if (items.envelope === true) out.push(" ENVELOPE ", index.envelope);
  if (items.bodyStructure === true) out.push(" BODYSTRUCTURE ", index.bodyStructure);
  if (items.body === true) out.push(" BODY ", plainBody(message));
  if (items.saveDate === true) out.push(` SAVEDATE "${imapDate(message.savedMs, 0)}"`);
  if (items.emailId === true) out.push(` EMAILID (${message.emailId})`);
  if (items.threadId === true) out.push(` THREADID (${threadIdOf(message)})`);
  if (items.preview === true) out.push(` PREVIEW ${preview(message)}`);
  for (const section of items.sections ?? []) out.push(...renderSection(message, section));
  return Buffer.concat(out.map((part) => (typeof part === "string" ? Buffer.from(part) : part)));
}

function renderSection(message: FakeMessage, section: FetchSection): (string | Uint8Array)[] {
  const bytes = sectionBytes(message, section);
  if (bytes === undefined) return [` ${section.label} NIL`];
  if (section.kind === "binarySize") return [` ${section.label} ${bytes.length}`];
  const { start = 0, length = bytes.length } = section.partial ?? {};
  const cut = bytes.subarray(start, start + length);
  // RFC 3516 §4.2: literal8 only where there is a NUL.
  const mark = section.kind === "binary" && cut.includes(0) ? "~" : "";
  return [` ${section.label} ${mark}{${cut.length}}\r\n`, cut];
}

/** RFC 8970: the text of the first text part, blanks squeezed, at most 200 characters. */
function preview(message: FakeMessage): string {
  const part = firstText(message.index.root);
  if (part === undefined) return '""';
  const bytes = message.body.subarray(part.bodyStart, part.bodyEnd);
  const text = previewText(decodedPartText(bytes, part));
  if (/^[ -~]*$/.test(text)) return `"${text.replaceAll(/["\\]/g, "\\$&")}"`;
  return `{${Buffer.byteLength(text)}}\r\n${text}`;
}

function firstText(part: PartIndex): PartIndex | undefined {
  if (part.type.startsWith("text/")) return part;
  for (const child of part.children ?? []) {
    const found = firstText(child);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** BODYSTRUCTURE without extension data, cut out of the full one by its parentheses. */
function plainBody(message: FakeMessage): string {
  return withoutExtensions(parse(Buffer.from(message.index.bodyStructure).toString("latin1")));
}

type Node = string | readonly Node[];

function withoutExtensions(node: Node): string {
  if (typeof node === "string") return node;
  if (Array.isArray(node[0])) {
    const subtype = node.findIndex((each) => typeof each === "string");
    const parts = node.slice(0, subtype).map(withoutExtensions).join("");
    return `(${parts} ${String(node[subtype])})`;
  }
  const type = String(node[0]).toLowerCase();
  const subtype = String(node[1]).toLowerCase();
  const isMessage = type === '"message"' && (subtype === '"rfc822"' || subtype === '"global"');
  const kept = isMessage ? 10 : type === '"text"' ? 8 : 7;
  const rest = node
    .slice(0, kept)
    .map((each, at) => (isMessage && at === 8 ? withoutExtensions(each) : text(each)));
  return `(${rest.join(" ")})`;
}

function text(node: Node): string {
  if (typeof node === "string") return node;
  const inner = node.map(text);
  const glued = node.length > 0 && node.every((each) => typeof each !== "string");
  return `(${inner.join(glued ? "" : " ")})`;
}

function parse(source: string): Node {
  const stack: Node[][] = [[]];
  for (let at = 0; at < source.length; ) {
    const literal = /^\{(\d+)\}\r\n/.exec(source.slice(at, at + 20));
    const char = source[at];
    if (char === "(") stack.push([]);
    else if (char === ")") {
      const done = stack.pop() ?? [];
      stack.at(-1)?.push(done);
    }
    if (char === "(" || char === ")" || char === " ") {
      at++;
      continue;
    }
    const atom =
      literal === null
        ? (/^(?:"(?:[^"\\]|\\.)*"|[^\s()]+)/s.exec(source.slice(at))?.[0] ?? source.slice(at))
        : source.slice(at, at + literal[0].length + Number(literal[1]));
    stack.at(-1)?.push(atom);
    at += atom.length;
  }
  return stack[0]?.[0] ?? "NIL";
}
