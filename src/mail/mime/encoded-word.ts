// RFC 2047 encoded words in header text, with what mailers do against its rules: words in quoted
// strings, characters split over words, missing padding, blanks inside, raw 8-bit around them.

import { Buffer } from "node:buffer";
import { charsetSupported, decodeCharset, guessCharset } from "../charset/charset.ts";
import { decodeBase64, decodeQuotedPrintable } from "./transfer.ts";

interface EncodedWord {
  readonly charset: string;
  readonly bytes: Buffer;
  readonly end: number;
}

const wordLengthMax = 16 * 1024;

/**
 * Unfolded text of a field's value. `text` is binary (one character a byte); raw 8-bit is taken for
 * UTF-8 if valid, else for `charset` if given, else for CP949. RFC 2047 §5, §6
 */
export function decodeHeaderValue(text: string, charset?: string): string {
  let out = "";
  let plain = 0;
  let at = text.indexOf("=?");
  while (at >= 0) {
    const word = wordAt(text, at);
    if (word === undefined) {
      at = text.indexOf("=?", at + 2);
      continue;
    }
    out += rawText(text.slice(plain, at), charset);
    const run = [word.bytes];
    let end = word.end;
    // RFC 2047 §6.2: blanks between neighbours vanish. Bytes of one charset are joined before they
    // are decoded, since many mailers cut characters in two.
    let next = nextWord(text, end);
    while (next !== undefined && next.charset === word.charset) {
      run.push(next.bytes);
      end = next.end;
      next = nextWord(text, end);
    }
    out += decodeCharset(Buffer.concat(run), word.charset) ?? "";
    plain = next === undefined ? end : blanksEnd(text, end);
    at = text.indexOf("=?", plain);
  }
  return out + rawText(text.slice(plain), charset);
}

function rawText(binary: string, charset: string | undefined): string {
  const unfolded = binary.replaceAll(/\r?\n/g, "");
  // oxlint-disable-next-line no-control-regex
  if (/^[\u0000-\u007f]*$/.test(unfolded)) return unfolded;
  return guessCharset(Buffer.from(unfolded, "latin1"), charset);
}

function nextWord(text: string, end: number): EncodedWord | undefined {
  const at = blanksEnd(text, end);
  return text.startsWith("=?", at) ? wordAt(text, at) : undefined;
}

function blanksEnd(text: string, from: number): number {
  let at = from;
  while (" \t\r\n".includes(text.charAt(at)) && at < text.length) at++;
  return at;
}

/** The encoded word that begins at `at`, if it is whole and its charset is known. */
function wordAt(text: string, at: number): EncodedWord | undefined {
  const head = /^=\?([^?\s]{1,60})\?([bq])\?/i.exec(text.slice(at, at + 70));
  if (head === null) return undefined;
  const start = at + head[0].length;
  const close = text.slice(start, start + wordLengthMax).indexOf("?=");
  if (close < 0) return undefined;
  const encoded = text.slice(start, start + close);
  // RFC 2231 §5: a language may follow the charset.
  const charset = (head[1] ?? "").split("*", 1)[0]?.toLowerCase() ?? "";
  if (!charsetSupported(charset)) return undefined;
  const raw = Buffer.from(encoded.replaceAll(/[\r\n]+[ \t]*/g, ""), "latin1");
  const bytes =
    head[2]?.toLowerCase() === "b" ? decodeBase64(raw) : decodeQuotedPrintable(raw, true);
  return { charset, bytes, end: start + close + 2 };
}
