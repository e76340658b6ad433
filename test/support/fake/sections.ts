// FETCH sections of the fake: which bytes a BODY[…] or BINARY[…] names, by the part index that came
// with the message. Slow and plain on purpose: it checks the store's own code.

import type { FetchSection } from "../../../src/mail/mail-store.ts";
import type { PartIndex } from "../../../src/mail/message-index.ts";
import type { FakeMessage } from "./account.ts";

/** The section's bytes before `partial`; undefined when the message has no such part. */
export function sectionBytes(message: FakeMessage, section: FetchSection): Uint8Array | undefined {
  const { body } = message;
  const { root } = message.index;
  const part = partAt(root, section.path);
  if (part === undefined) return undefined;
  const whole = section.path.length === 0;
  // HEADER, TEXT and fields of a part are those of the message that it embeds. RFC 9051 §6.4.5.1
  const owner = whole ? root : part.message;
  switch (section.kind) {
    case "body":
      return whole ? body : body.subarray(part.bodyStart, part.bodyEnd);
    case "mime":
      return body.subarray(part.headerStart, part.bodyStart);
    case "header":
      return owner && body.subarray(owner.headerStart, owner.bodyStart);
    case "text":
      return owner && body.subarray(owner.bodyStart, whole ? body.length : owner.bodyEnd);
    case "fields":
    case "fieldsNot":
      return owner && someFields(body.subarray(owner.headerStart, owner.bodyStart), section);
    case "binary":
    case "binarySize":
      return whole ? body : isDecodable(message, section) ? decodedBody(body, part) : undefined;
    default:
      return undefined;
  }
}

/** False when BINARY names a part whose transfer encoding is not known. RFC 3516 §4.3 */
export function isDecodable({ index }: FakeMessage, { path }: FetchSection): boolean {
  const part = partAt(index.root, path);
  const known = ["", "7bit", "8bit", "binary", "base64", "quoted-printable"];
  return path.length === 0 || part === undefined || known.includes(part.encoding);
}

/** The body of a leaf without its Content-Transfer-Encoding. RFC 3516 §4.3 */
export function decodedBody(body: Uint8Array, part: PartIndex): Uint8Array {
  const raw = Buffer.from(body.subarray(part.bodyStart, part.bodyEnd));
  if (part.encoding === "base64") return Buffer.from(raw.toString("latin1"), "base64");
  if (part.encoding !== "quoted-printable") return raw;
  const text = raw.toString("latin1").replaceAll(/=[ \t]*\r?\n/g, "");
  const decoded = text.replaceAll(/=([0-9a-fA-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(decoded, "latin1");
}

/** Header fields as whole lines with their folded ones, in order. */
export function headerLines(header: Uint8Array): readonly string[] {
  const text = Buffer.from(header).toString("latin1");
  return text.match(/^[^\s:][^:\n]*:.*(?:\r?\n[ \t].*)*(?:\r?\n)?/gm) ?? [];
}

export function fieldName(line: string): string {
  return line.slice(0, line.indexOf(":")).trim().toLowerCase();
}

function someFields(header: Uint8Array, section: FetchSection): Uint8Array {
  const names = new Set((section.fields ?? []).map((name) => name.toLowerCase()));
  const wanted = section.kind === "fields";
  const lines = headerLines(header).filter((line) => names.has(fieldName(line)) === wanted);
  return Buffer.from(`${lines.join("")}\r\n`, "latin1");
}

/** RFC 9051 §6.4.5.1: part 1 of a message that is no multipart is its body. */
function partAt(root: PartIndex, path: readonly number[]): PartIndex | undefined {
  let part = root;
  let inMessage = true;
  for (const number of path) {
    const holder: PartIndex | undefined = inMessage ? part : (part.message ?? part);
    const isRoot = inMessage || part.message !== undefined;
    const child: PartIndex | undefined =
      holder.children === undefined
        ? isRoot && number === 1
          ? holder
          : undefined
        : holder.children[number - 1];
    if (child === undefined) return undefined;
    part = child;
    inMessage = false;
  }
  return part;
}
