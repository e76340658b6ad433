// BODY[…] and BINARY[…] of a message (RFC 9051 §6.4.5): which bytes, and how they are written as a
// string of the response. Where a section lies is mail/mime/part-path.ts's business.

import type { FetchSection } from "../mail/mail-store.ts";
import type { PartIndex } from "../mail/message-index.ts";
import { headerFields } from "../mail/mime/header-fields.ts";
import { sectionRange } from "../mail/mime/part-path.ts";
import { transferDecode } from "../mail/mime/transfer.ts";
import type { ChunkWriter } from "./chunk-writer.ts";

/** True when the section is a run of the stored bytes, so that the part tree isn't needed. */
export function isWholeMessage(section: FetchSection): boolean {
  return section.kind === "body" && section.path.length === 0;
}

/** Where a section's value lies in the message, when it is a run of stored bytes. */
export interface SectionPlan {
  /** Undefined: there is no such part (NIL). */
  readonly range: { readonly start: number; readonly end: number } | undefined;
  /** The value has to be worked out from the range's bytes. */
  readonly derived: boolean;
  readonly encoding: string;
}

export function planSection(
  section: FetchSection,
  size: number,
  root: PartIndex | undefined,
): SectionPlan {
  if (isWholeMessage(section) || root === undefined) {
    return { range: { start: 0, end: size }, derived: false, encoding: "" };
  }
  const range = sectionRange(root, section);
  const derived = ["fields", "fieldsNot", "binary", "binarySize"].includes(section.kind);
  const whole = section.path.length === 0;
  return {
    // The message ends where its bytes end, whatever a broken multipart says.
    range:
      range !== undefined && whole && (section.kind === "text" || section.kind.startsWith("binary"))
        ? { start: range.start, end: size }
        : range,
    derived,
    encoding: whole ? "binary" : (range?.part.encoding ?? ""),
  };
}

/** Cuts a run by the section's partial. RFC 9051 §6.4.5: beyond the end it is an empty string. */
export function cutRange(
  range: { readonly start: number; readonly end: number },
  section: FetchSection,
): { readonly start: number; readonly end: number } {
  if (section.partial === undefined) return range;
  const start = Math.min(range.end, range.start + section.partial.start);
  return { start, end: Math.min(range.end, start + section.partial.length) };
}

/** Writes ` label value` of a section whose bytes are in memory. */
export function writeSection(
  out: ChunkWriter,
  section: FetchSection,
  plan: SectionPlan,
  bytesOf: (start: number, end: number) => Uint8Array,
): void {
  out.ascii(" ");
  out.bytes(Buffer.from(section.label));
  if (plan.range === undefined) {
    out.ascii(" NIL");
    return;
  }
  if (!plan.derived) {
    const { start, end } = cutRange(plan.range, section);
    writeString(out, bytesOf(start, end), false);
    return;
  }
  const value = derive(section, plan, bytesOf(plan.range.start, plan.range.end));
  // RFC 9051 §7.5.2: a transfer encoding that we can't undo; FETCH goes on with the other items.
  if (value === undefined) {
    out.unknownEncoding = true;
    out.ascii(" NIL");
  } else if (section.kind === "binarySize") {
    out.ascii(" ");
    out.number(value.length);
  } else {
    const { start, end } = cutRange({ start: 0, end: value.length }, section);
    writeString(out, value.subarray(start, end), section.kind === "binary");
  }
}

/** The literal's announcement, for bytes that follow in pieces. */
export function writeLiteralHead(out: ChunkWriter, section: FetchSection, length: number): void {
  out.ascii(" ");
  out.bytes(Buffer.from(section.label));
  out.ascii(length === 0 ? ' ""' : ` {${length}}\r\n`);
}

function derive(
  section: FetchSection,
  plan: SectionPlan,
  bytes: Uint8Array,
): Uint8Array | undefined {
  return section.kind === "fields" || section.kind === "fieldsNot"
    ? headerFields(bytes, section.fields ?? [], section.kind === "fieldsNot")
    : transferDecode(bytes, plan.encoding);
}

function writeString(out: ChunkWriter, bytes: Uint8Array, binary: boolean): void {
  if (bytes.length === 0) {
    out.ascii(' ""');
    return;
  }
  // RFC 9051 §4.3: NUL needs literal8, everything else is a plain literal.
  out.ascii(binary && bytes.includes(0) ? " ~{" : " {");
  out.number(bytes.length);
  out.ascii("}\r\n");
  out.bytes(bytes);
}
