// Bytes to text and back for every charset label that mail carries. What the bytes are (a body, an
// encoded word, a SEARCH argument) is the caller's business.

import { Buffer, isUtf8 } from "node:buffer";
import iconv from "iconv-lite";
import { decodeIso2022Kr, encodeIso2022Kr } from "./iso-2022-kr.ts";

// EUC-KR labels mean CP949 in practice: it is a superset, and Windows mailers label it so.
const koreanLabels = [
  "euc-kr",
  "euckr",
  "cseuckr",
  "ks_c_5601-1987",
  "ks_c_5601-1989",
  "ks_c_5601",
  "ks-c-5601-1987",
  "ks-c-5601",
  "ksc5601",
  "ksc_5601",
  "ksc-5601",
  "ks_x_1001",
  "ksx1001",
  "csksc56011987",
  "iso-ir-149",
  "korean",
  "cp949",
  "x-cp949",
  "ms949",
  "uhc",
  "x-uhc",
  "windows-949",
  "x-windows-949",
  "949",
];

const aliases: ReadonlyMap<string, string> = new Map([
  ...koreanLabels.map((label) => [label, "cp949"] as const),
  ["iso-2022-kr", "iso-2022-kr"],
  ["iso2022kr", "iso-2022-kr"],
  ["csiso2022kr", "iso-2022-kr"],
  ["iso-2022-jp", "iso-2022-jp"],
  ["iso2022jp", "iso-2022-jp"],
  ["csiso2022jp", "iso-2022-jp"],
  ["utf8", "utf-8"],
  ["utf-8", "utf-8"],
  ["cp65001", "utf-8"],
  ["unicode-1-1-utf-8", "utf-8"],
  ["us-ascii", "us-ascii"],
  ["ascii", "us-ascii"],
  ["ansi_x3.4-1968", "us-ascii"],
  ["iso646-us", "us-ascii"],
]);

// iconv-lite offers these as "encodings"; they are transfer encodings or Node's own.
const noCharsets = new Set([
  "base64",
  "hex",
  "binary",
  "ucs2",
  "cesu8",
  "utf8ascii",
  "ibm",
  "default",
]);

/** One name for each charset, undefined when there is no decoder for it. */
function canonical(label: string): string | undefined {
  const name = label
    .trim()
    .toLowerCase()
    .replaceAll(/^["']+|["']+$/g, "");
  const known = aliases.get(name);
  if (known !== undefined) return known;
  if (name.length > 40 || !/^[a-z0-9][a-z0-9._:+-]*$/.test(name)) return undefined;
  const squeezed = name.replaceAll(/[^a-z0-9]/g, "");
  if (noCharsets.has(squeezed) || Object.hasOwn(Object.prototype, name)) return undefined;
  return iconv.encodingExists(name) ? name : undefined;
}

/** True when `decodeCharset` knows the label; SEARCH answers BADCHARSET otherwise. */
export function charsetSupported(label: string): boolean {
  return canonical(label) !== undefined;
}

/** Decodes bytes; undefined when the charset is unknown. What can't be decoded becomes U+FFFD. */
export function decodeCharset(bytes: Uint8Array, label: string): string | undefined {
  const name = canonical(label);
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  switch (name) {
    case undefined:
      return undefined;
    case "utf-8":
      return buffer.toString("utf8");
    case "us-ascii":
      // RFC 2045 §2.8 knows no 8-bit here; whoever sends it means something else.
      return guessCharset(buffer);
    case "iso-2022-kr":
      return decodeIso2022Kr(buffer);
    case "iso-2022-jp":
      return new TextDecoder("iso-2022-jp").decode(buffer);
    default:
      return iconv.decode(buffer, name);
  }
}

/** Encodes text; undefined when the charset is unknown, has no encoder here, or lacks a character. */
export function encodeCharset(text: string, label: string): Buffer | undefined {
  const name = canonical(label);
  switch (name) {
    case undefined:
    case "iso-2022-jp":
      return undefined;
    case "utf-8":
      return Buffer.from(text);
    case "iso-2022-kr":
      return encodeIso2022Kr(text);
    default: {
      const bytes = iconv.encode(text, name === "us-ascii" ? "ascii" : name);
      return iconv.decode(bytes, name === "us-ascii" ? "ascii" : name) === text ? bytes : undefined;
    }
  }
}

/**
 * Decodes bytes without a usable label: UTF-8 if they are valid UTF-8, else `hint` if it is known and
 * not itself a guess, else CP949, the usual sender of raw 8-bit mail here.
 */
export function guessCharset(bytes: Uint8Array, hint?: string): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (isUtf8(buffer)) return buffer.toString("utf8");
  const name = hint === undefined ? undefined : canonical(hint);
  if (hint !== undefined && name !== undefined && name !== "us-ascii" && name !== "utf-8") {
    return decodeCharset(buffer, hint) ?? "";
  }
  return iconv.decode(buffer, "cp949");
}
