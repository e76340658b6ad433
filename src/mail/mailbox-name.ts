// Mailbox names: the form in which they are stored (NFC, `/` between levels, INBOX in capitals), what
// can never be a name, and modified UTF-7 for clients that haven't enabled UTF-8. LIST patterns and
// what a mailbox holds are others' business.

import { Buffer } from "node:buffer";
import { isWellFormed } from "./charset/unicode.ts";

export const hierarchyDelimiter = "/";
export const levelBytesMax = 255;
export const levelCountMax = 32;

export type MailboxNameResult =
  | { readonly ok: true; readonly name: string }
  /** `why` completes the sentence "a mailbox name …". */
  | { readonly ok: false; readonly why: string };

/**
 * The stored form of a name a client gave, already decoded to Unicode. RFC 9051 §5.1, RFC 5198 §2
 * One trailing delimiter is dropped (RFC 9051 §6.3.4), INBOX is known in any case, also as a parent.
 */
export function normaliseMailboxName(given: string): MailboxNameResult {
  if (!isWellFormed(given)) return refuse("must be well-formed Unicode");
  if (given.length > levelCountMax * (levelBytesMax + 1)) return refuse("is too long");
  const name = given.normalize("NFC");
  // RFC 9051 §5.1: no C0, C1 or DEL, no line or paragraph separators.
  if (/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/u.test(name)) {
    return refuse("must not hold control characters");
  }
  const levels = (name.endsWith(hierarchyDelimiter) ? name.slice(0, -1) : name).split(
    hierarchyDelimiter,
  );
  if (levels.length > levelCountMax) return refuse(`has at most ${levelCountMax} levels`);
  for (const level of levels) {
    if (level === "") return refuse("must not have an empty level");
    if (level === "." || level === "..") return refuse("must not have a level . or ..");
    if (Buffer.byteLength(level) > levelBytesMax) {
      return refuse(`has at most ${levelBytesMax} bytes a level`);
    }
  }
  // RFC 9051 §5.1: INBOX is reserved in any case; its children follow it.
  if (levels[0]?.toUpperCase() === "INBOX" && levels[0].length === 5) levels[0] = "INBOX";
  return { ok: true, name: levels.join(hierarchyDelimiter) };
}

function refuse(why: string): MailboxNameResult {
  return { ok: false, why };
}

/** The name in modified UTF-7. RFC 3501 §5.1.3. Expects well-formed Unicode. */
export function encodeModifiedUtf7(name: string): string {
  let out = "";
  let at = 0;
  while (at < name.length) {
    const start = at;
    while (at < name.length && isPlain(name.charCodeAt(at))) at++;
    out += name.slice(start, at).replaceAll("&", "&-");
    const shifted = at;
    while (at < name.length && !isPlain(name.charCodeAt(at))) at++;
    if (at > shifted) {
      const utf16 = Buffer.from(name.slice(shifted, at), "utf16le").swap16();
      out += `&${utf16.toString("base64").replaceAll("/", ",").replaceAll("=", "")}-`;
    }
  }
  return out;
}

/**
 * Decodes modified UTF-7; undefined for anything but the one right spelling of a name: 8-bit or
 * control characters, an open shift, ASCII in base64, lone surrogates, loose bits. RFC 3501 §5.1.3
 */
export function decodeModifiedUtf7(text: string): string | undefined {
  let out = "";
  let at = 0;
  while (at < text.length) {
    const shift = text.indexOf("&", at);
    if (shift < 0) {
      out += text.slice(at);
      break;
    }
    const end = text.indexOf("-", shift);
    if (end < 0) return undefined;
    out += text.slice(at, shift);
    if (end === shift + 1) {
      out += "&";
    } else {
      const utf16 = Buffer.from(text.slice(shift + 1, end).replaceAll(",", "/"), "base64");
      if (utf16.length % 2 !== 0) return undefined;
      out += utf16.swap16().toString("utf16le");
    }
    at = end + 1;
  }
  // What isn't spelled as we would spell it is refused, so that a name has one spelling.
  return isWellFormed(out) && encodeModifiedUtf7(out) === text ? out : undefined;
}

function isPlain(code: number): boolean {
  return code >= 0x20 && code <= 0x7e;
}
