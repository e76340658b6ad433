// Renders BODYSTRUCTURE from the finished tree of parts, and makes the shorter BODY from the
// rendered bytes, so that only one of them need be stored.

import type { Parameters } from "./content-fields.ts";
import { joinContinuations } from "./continuations.ts";
import { ImapWriter } from "./imap-writer.ts";
import type { PartNode } from "./part-node.ts";

/** Writes a part with extension data. RFC 9051 §7.5.2, RFC 3501 §7.4.2 */
export function writeBodyStructure(out: ImapWriter, node: PartNode): void {
  const { fields } = node;
  const slash = fields.type.indexOf("/");
  const subtype = fields.type.slice(slash + 1);
  out.text("(");
  if (node.kind === "multipart") {
    for (const child of node.children) writeBodyStructure(out, child);
    out.text(" ");
    out.string(subtype);
    out.text(" ");
    writeParameters(out, fields.parameters);
  } else {
    const media = fields.type.slice(0, slash);
    out.string(media);
    out.text(" ");
    out.string(subtype);
    out.text(" ");
    writeParameters(out, fields.parameters, media === "text" ? "us-ascii" : undefined);
    out.text(" ");
    out.nstring(fields.id);
    out.text(" ");
    out.nstring(fields.description);
    out.text(" ");
    out.string(fields.encoding);
    out.text(` ${node.bodyEnd - node.bodyStart}`);
    if (node.message !== undefined) {
      out.text(" ");
      if (node.message.envelope === undefined) out.text(emptyEnvelope);
      else out.bytes(node.message.envelope);
      out.text(" ");
      writeBodyStructure(out, node.message);
    }
    if (node.message !== undefined || media === "text") out.text(` ${node.lines}`);
    out.text(" ");
    out.nstring(fields.md5);
  }
  writeDisposition(out, node);
  writeLanguages(out, fields.languages);
  out.text(" ");
  out.nstring(fields.location);
  out.text(")");
}

const emptyEnvelope = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";

// RFC 2046 §4.1.2: text without a charset is us-ascii; said aloud, as Dovecot does.
function writeParameters(out: ImapWriter, parameters: Parameters, charset?: string): void {
  const { names, values } = joinContinuations(parameters);
  const addCharset = charset !== undefined && !names.includes("charset");
  if (names.length === 0 && !addCharset) {
    out.text("NIL");
    return;
  }
  out.text("(");
  for (let i = 0; i < names.length; i++) {
    if (i > 0) out.text(" ");
    out.string(names[i] ?? "");
    out.text(" ");
    out.string(values[i] ?? "");
  }
  if (addCharset) out.text(`${names.length > 0 ? " " : ""}"charset" "${charset}"`);
  out.text(")");
}

function writeDisposition(out: ImapWriter, { fields }: PartNode): void {
  if (fields.disposition === undefined) {
    out.text(" NIL");
    return;
  }
  out.text(" (");
  out.string(fields.disposition);
  out.text(" ");
  writeParameters(out, fields.dispositionParameters);
  out.text(")");
}

function writeLanguages(out: ImapWriter, languages: readonly string[]): void {
  if (languages.length === 0) {
    out.text(" NIL");
    return;
  }
  out.text(" (");
  for (const [i, language] of languages.entries()) {
    if (i > 0) out.text(" ");
    out.string(language);
  }
  out.text(")");
}

/**
 * The non-extensible BODY form of a BODYSTRUCTURE that this module rendered. RFC 9051 §7.5.2
 *
 * @throws RangeError when `bodyStructure` is not of that form.
 */
export function renderBody(bodyStructure: Uint8Array): Uint8Array {
  const out = new ImapWriter();
  const end = copyBody(bodyStructure, 0, out);
  if (end !== bodyStructure.length) throw new RangeError("a BODYSTRUCTURE and nothing behind it");
  return out.take();
}

const open = 0x28;
const close = 0x29;

/** Copies the part that opens at `at` without its extension data; returns where it ends. */
function copyBody(bytes: Uint8Array, at: number, out: ImapWriter): number {
  expectByte(bytes, at, open);
  out.text("(");
  let next = at + 1;
  if (bytes[next] === open) {
    while (bytes[next] === open) next = copyBody(bytes, next, out);
    next = copyItems(bytes, next, 1, out);
  } else {
    const start = next;
    next = copyItems(bytes, next, 2, out);
    const media = String.fromCharCode(...bytes.subarray(start, Math.min(next, start + 24)));
    next = copyItems(bytes, next, 5, out);
    if (/^"message" "(rfc822|global)"$/.test(media.trim())) {
      // Behind the octets of an embedded message come its envelope, its body, and its lines. A part
      // that only says message/rfc822 and was made a leaf has another type by now.
      next = copyItems(bytes, next, 1, out);
      out.text(" ");
      next = copyItems(bytes, copyBody(bytes, next + 1, out), 1, out);
    } else if (media.startsWith('"text" ')) {
      next = copyItems(bytes, next, 1, out);
    }
  }
  out.text(")");
  while (bytes[next] === 32) next = itemEnd(bytes, next + 1);
  expectByte(bytes, next, close);
  return next + 1;
}

/** Copies `count` items, each with the blank before it if there is one. */
function copyItems(bytes: Uint8Array, at: number, count: number, out: ImapWriter): number {
  let next = at;
  for (let i = 0; i < count; i++) next = itemEnd(bytes, bytes[next] === 32 ? next + 1 : next);
  out.bytes(bytes.subarray(at, next));
  return next;
}

/** Behind the string, literal, atom or list at `at`. */
function itemEnd(bytes: Uint8Array, at: number): number {
  let depth = 0;
  let next = at;
  do {
    const byte = bytes[next];
    if (byte === open) {
      depth++;
      next++;
    } else if (byte === close) {
      depth--;
      next++;
    } else if (byte === 32) {
      next++;
    } else {
      next = scalarEnd(bytes, next);
    }
  } while (depth > 0);
  return next;
}

function scalarEnd(bytes: Uint8Array, at: number): number {
  let next = at;
  if (bytes[at] === 0x22) {
    for (next++; bytes[next] !== 0x22; next++) {
      if (bytes[next] === 0x5c) next++;
      if (next >= bytes.length) throw new RangeError("a closing quote");
    }
    return next + 1;
  }
  if (bytes[at] === 0x7b) {
    let size = 0;
    for (next++; (bytes[next] ?? 0x7d) !== 0x7d; next++)
      size = size * 10 + ((bytes[next] ?? 0) - 48);
    return next + 3 + size;
  }
  while (
    next < bytes.length &&
    bytes[next] !== 32 &&
    bytes[next] !== open &&
    bytes[next] !== close
  ) {
    next++;
  }
  if (next === at) throw new RangeError("an item");
  return next;
}

function expectByte(bytes: Uint8Array, at: number, byte: number): void {
  if (bytes[at] !== byte) throw new RangeError(`${String.fromCharCode(byte)} at ${at}`);
}
