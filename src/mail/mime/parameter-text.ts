// Text of a parameter (file name, boundary, …): RFC 2231 pieces and charsets, or the RFC 2047 words
// and raw 8-bit that are in use against the rules.

import { Buffer } from "node:buffer";
import { decodeCharset, guessCharset } from "../charset/charset.ts";
import type { Parameters } from "./content-fields.ts";
import { noParameters, parameterOf, readTyped } from "./content-fields.ts";
import { decodeHeaderValue } from "./encoded-word.ts";
import { mimeBudget } from "./limits.ts";

const piecesMax = 1000;

/** Parameters of a field's value, given as binary text. `value` is the lower-case type or token. */
export function readParameterField(value: string): {
  readonly value: string;
  readonly parameters: Parameters;
} {
  return value === "" ? { value: "", parameters: noParameters } : readTyped(value, mimeBudget());
}

/**
 * Decoded value of parameter `name` in NFC; undefined when it is missing. RFC 2231 §3, §4
 * `name*` and `name*0*` pieces win over a plain `name`, which older programs add for each other.
 */
export function parameterText(parameters: Parameters, name: string): string | undefined {
  const whole = parameterOf(parameters, `${name}*`);
  if (whole !== undefined) return decodeExtended([whole], [true]);
  const pieces: string[] = [];
  const extended: boolean[] = [];
  for (let i = 0; i < piecesMax; i++) {
    const encoded = parameterOf(parameters, `${name}*${i}*`);
    const piece = encoded ?? parameterOf(parameters, `${name}*${i}`);
    if (piece === undefined) break;
    pieces.push(piece);
    extended.push(encoded !== undefined);
  }
  if (pieces.length > 0) return decodeExtended(pieces, extended);
  const plain = parameterOf(parameters, name);
  return plain === undefined ? undefined : decodeHeaderValue(plain).normalize("NFC");
}

/** Joins pieces; the first extended one begins with `charset'language'`. */
function decodeExtended(pieces: readonly string[], extended: readonly boolean[]): string {
  let charset: string | undefined;
  const bytes: Buffer[] = [];
  for (const [i, piece] of pieces.entries()) {
    let text = piece;
    if (i === 0 && extended[0] === true) {
      const label = /^([^']*)'[^']*'/.exec(piece);
      if (label !== null) {
        charset = label[1];
        text = piece.slice(label[0].length);
      }
    }
    bytes.push(extended[i] === true ? percentDecode(text) : Buffer.from(text, "latin1"));
  }
  const joined = Buffer.concat(bytes);
  const known =
    charset === undefined || charset === "" ? undefined : decodeCharset(joined, charset);
  return (known ?? guessCharset(joined)).normalize("NFC");
}

function percentDecode(text: string): Buffer {
  const binary = text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(binary, "latin1");
}
