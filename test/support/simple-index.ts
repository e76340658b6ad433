// A MessageIndex made the slow and plain way, for tests that need one without the gateway's indexer
// and to compare that one with. Knows well-formed MIME only.

import type { MessageIndex, PartIndex } from "../../src/mail/message-index.ts";

/** Indexes a message whose lines end in CRLF (bare LF is understood too). */
export function simpleIndex(bytes: Uint8Array): MessageIndex {
  const text = Buffer.from(bytes).toString("latin1");
  const root = part(text, 0, text.length, "text/plain");
  const header = text.slice(0, root.bodyStart);
  const date = field(header, "date");
  const sentMs = date === undefined ? Number.NaN : Date.parse(date);
  const messageId = field(header, "message-id");
  return {
    sizeBytes: bytes.length,
    envelope: Buffer.from(envelope(header), "latin1"),
    bodyStructure: Buffer.from(structure(text, root), "latin1"),
    root,
    ...(Number.isNaN(sentMs) ? {} : { sentMs }),
    ...(messageId === undefined ? {} : { messageId }),
  };
}

function part(text: string, start: number, end: number, defaultType: string): PartIndex {
  const headerEnd = /^\r?\n|\r?\n\r?\n/.exec(text.slice(start, end));
  const bodyStart = headerEnd === null ? end : start + headerEnd.index + headerEnd[0].length;
  const header = text.slice(start, bodyStart);
  const contentType = field(header, "content-type") ?? defaultType;
  const type = (/^[^;\s]+/.exec(contentType)?.[0] ?? defaultType).toLowerCase();
  const charset = parameter(contentType, "charset")?.toLowerCase();
  const boundary = parameter(contentType, "boundary");
  const isMultipart = type.startsWith("multipart/") && boundary !== undefined;
  return {
    headerStart: start,
    bodyStart,
    bodyEnd: end,
    type,
    encoding: (field(header, "content-transfer-encoding") ?? "7bit").toLowerCase(),
    ...(charset === undefined || !type.startsWith("text/") ? {} : { charset }),
    ...(isMultipart ? { children: children(text, bodyStart, end, boundary) } : {}),
    ...(type === "message/rfc822" ? { message: part(text, bodyStart, end, "text/plain") } : {}),
  };
}

function children(
  text: string,
  start: number,
  end: number,
  boundary: string,
): readonly PartIndex[] {
  const escaped = boundary.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const body = text.slice(start, end);
  const marks = [
    ...body.matchAll(new RegExp(`(?:^|\\r?\\n)--${escaped}(--)?[ \\t]*(?:\\r?\\n|$)`, "g")),
  ];
  return marks.slice(0, -1).flatMap((mark, at) => {
    const next = marks[at + 1];
    if (mark[1] !== undefined || next === undefined) return [];
    return [part(text, start + mark.index + mark[0].length, start + next.index, "text/plain")];
  });
}

function field(header: string, name: string): string | undefined {
  const found = new RegExp(`^${name}:((?:.*)(?:\\r?\\n[ \\t].*)*)`, "im").exec(header);
  return found?.[1]?.replaceAll(/\r?\n/g, "").trim();
}

function parameter(value: string, name: string): string | undefined {
  const found = new RegExp(`;\\s*${name}=(?:"([^"]*)"|([^\\s;]+))`, "i").exec(value);
  return found?.[1] ?? found?.[2];
}

/** `NIL` or a quoted string; 8-bit text as a literal. */
function nstring(value: string | undefined): string {
  if (value === undefined) return "NIL";
  if (/[^ -~]/.test(value)) return `{${value.length}}\r\n${value}`;
  return `"${value.replaceAll(/["\\]/g, "\\$&")}"`;
}

function envelope(header: string): string {
  const addresses = (name: string): string | undefined => {
    const list = field(header, name)?.split(",") ?? [];
    const rendered = list.map((each) => {
      const found = /^\s*"?([^"<]*?)"?\s*<?([^<>@\s]+)@([^<>\s]+?)>?\s*$/.exec(each);
      return `(${nstring(found?.[1] || undefined)} NIL ${nstring(found?.[2])} ${nstring(found?.[3])})`;
    });
    return rendered.length === 0 ? undefined : `(${rendered.join("")})`;
  };
  const from = addresses("from") ?? "NIL";
  const fields = [
    nstring(field(header, "date")),
    nstring(field(header, "subject")),
    from,
    addresses("sender") ?? from,
    addresses("reply-to") ?? from,
    addresses("to") ?? "NIL",
    addresses("cc") ?? "NIL",
    addresses("bcc") ?? "NIL",
    nstring(field(header, "in-reply-to")),
    nstring(field(header, "message-id")),
  ];
  return `(${fields.join(" ")})`;
}

function structure(text: string, node: PartIndex): string {
  const [type = "", subtype = ""] = node.type.split("/");
  if (node.children !== undefined) {
    const inner = node.children.map((child) => structure(text, child)).join("");
    return `(${inner} ${nstring(subtype)} NIL NIL NIL NIL)`;
  }
  const body = text.slice(node.bodyStart, node.bodyEnd);
  const parameters = node.charset === undefined ? "NIL" : `("charset" ${nstring(node.charset)})`;
  const basic = `${nstring(type)} ${nstring(subtype)} ${parameters} NIL NIL ${nstring(node.encoding)} ${body.length}`;
  const lines = body.split("\n").length - 1;
  if (node.message !== undefined) {
    const header = text.slice(node.message.headerStart, node.message.bodyStart);
    const inner = structure(text, node.message);
    return `(${basic} ${envelope(header)} ${inner} ${lines} NIL NIL NIL NIL)`;
  }
  return `(${basic}${type === "text" ? ` ${lines}` : ""} NIL NIL NIL NIL)`;
}
