// Content-Transfer-Encoding back to bytes, as tolerant as mail in the wild needs.

import { Buffer } from "node:buffer";

/**
 * Decodes a body; undefined when the encoding is unknown (BINARY answers UNKNOWN-CTE, RFC 3516 §4.3).
 * 7bit, 8bit and binary give the bytes themselves, not a copy. RFC 2045 §6
 */
export function transferDecode(body: Uint8Array, encoding: string): Buffer | undefined {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  switch (encoding.toLowerCase()) {
    case "":
    case "7bit":
    case "7-bit":
    case "8bit":
    case "8-bit":
    case "binary":
      return bytes;
    case "base64":
      return decodeBase64(bytes);
    case "quoted-printable":
      return decodeQuotedPrintable(bytes, false);
    default:
      return undefined;
  }
}

/** Base64 with line ends and dirt; padding in the middle (joined pieces) starts anew. RFC 2045 §6.8 */
export function decodeBase64(bytes: Buffer): Buffer {
  const text = bytes.toString("latin1");
  const pad = text.indexOf("=");
  if (pad < 0 || (/^[=\s]*$/.test(text.slice(pad, pad + 64)) && text.length - pad < 64)) {
    return Buffer.from(pad < 0 ? text : text.slice(0, pad), "base64");
  }
  return Buffer.concat(text.split(/=+/).map((piece) => Buffer.from(piece, "base64")));
}

/**
 * Quoted-printable; with `q` the variant of encoded words, where `_` is a blank (RFC 2047 §4.2).
 * An `=` that begins nothing is kept. RFC 2045 §6.7
 */
export function decodeQuotedPrintable(bytes: Uint8Array, q: boolean): Buffer {
  const out = Buffer.allocUnsafe(bytes.length);
  let size = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0;
    if (byte === 0x5f && q) {
      out[size++] = 32;
    } else if (byte !== 0x3d) {
      out[size++] = byte;
    } else {
      const high = hexDigit(bytes[i + 1]);
      const low = hexDigit(bytes[i + 2]);
      const soft = high >= 0 && low >= 0 ? -1 : softBreakEnd(bytes, i + 1);
      if (soft > 0) {
        i = soft - 1;
      } else if (high >= 0 && low >= 0) {
        out[size++] = (high << 4) | low;
        i += 2;
      } else {
        out[size++] = byte;
      }
    }
  }
  return out.subarray(0, size);
}

/** Behind the line end of a soft break whose `=` is at `at - 1`; -1 when it is none. */
function softBreakEnd(bytes: Uint8Array, at: number): number {
  let next = at;
  // Blanks behind the `=` were added under way; more than a line of them were not.
  while (next < at + 80 && (bytes[next] === 32 || bytes[next] === 9)) next++;
  if (next >= bytes.length) return next;
  if (bytes[next] === 13 && bytes[next + 1] === 10) return next + 2;
  return bytes[next] === 10 ? next + 1 : -1;
}

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
