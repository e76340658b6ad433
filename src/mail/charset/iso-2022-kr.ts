// ISO-2022-KR, the 7-bit Korean charset with shift states that no library here knows. It turns into
// EUC-KR and back; those tables are iconv-lite's.

import { Buffer } from "node:buffer";
import iconv from "iconv-lite";

const escape = 0x1b;
const shiftOut = 0x0e;
const shiftIn = 0x0f;
const designator = Buffer.from("\u001b$)C", "latin1");

/**
 * Decodes ISO-2022-KR; bytes that don't fit are kept as they are. RFC 1557 §2
 * A designator and a line end shift back to ASCII, so that a lost SI spoils one line only.
 */
export function decodeIso2022Kr(bytes: Uint8Array): string {
  const euc = Buffer.allocUnsafe(bytes.length);
  let size = 0;
  let korean = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0;
    if (
      byte === escape &&
      bytes[i + 1] === 0x24 &&
      bytes[i + 2] === 0x29 &&
      bytes[i + 3] === 0x43
    ) {
      i += 3;
      korean = false;
    } else if (byte === shiftOut) {
      korean = true;
    } else if (byte === shiftIn) {
      korean = false;
    } else {
      if (byte === 10 || byte === 13) korean = false;
      euc[size++] = korean && byte > 0x20 && byte < 0x7f ? byte | 0x80 : byte;
    }
  }
  return iconv.decode(euc.subarray(0, size), "cp949");
}

/** Encodes as ISO-2022-KR; undefined when a character is outside KS X 1001. RFC 1557 §2 */
export function encodeIso2022Kr(text: string): Buffer | undefined {
  const euc = iconv.encode(text, "cp949");
  const out: number[] = [...designator];
  let korean = false;
  for (let i = 0; i < euc.length; i++) {
    const lead = euc[i] ?? 0;
    if (lead < 0x80) {
      if (korean) out.push(shiftIn);
      korean = false;
      out.push(lead);
      continue;
    }
    const trail = euc[++i] ?? 0;
    if (lead < 0xa1 || trail < 0xa1) return undefined; // One of CP949's own syllables.
    if (!korean) out.push(shiftOut);
    korean = true;
    out.push(lead & 0x7f, trail & 0x7f);
  }
  if (korean) out.push(shiftIn);
  const bytes = Buffer.from(out);
  return decodeIso2022Kr(bytes) === text ? bytes : undefined;
}
