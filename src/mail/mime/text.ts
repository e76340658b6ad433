// Decoded text of headers and bodies, for SEARCH and later the web. Costs time: never on the
// delivery or listing path.

import { Buffer } from "node:buffer";
import { decodeCharset, guessCharset } from "../charset/charset.ts";
import type { PartIndex } from "../message-index.ts";
import { decodeHeaderValue } from "./encoded-word.ts";
import { headerFieldsOf } from "./header-fields.ts";
import { htmlText } from "./html-text.ts";
import { mimeLimits } from "./limits.ts";
import { parameterText, readParameterField } from "./parameter-text.ts";
import { transferDecode } from "./transfer.ts";

/**
 * Decoded, unfolded text of a header (a part's bytes from `headerStart` to `bodyStart`).
 *
 * With `fieldName`: the values of all fields of that name joined by LF, undefined when there is none
 * (an empty value is an empty string). Without: all fields as `Name: value`, joined by LF.
 * Values have RFC 2047 words decoded, and behind them the RFC 2231 parameters, each on its line.
 *
 * @param charset taken for raw 8-bit that is no UTF-8; CP949 when absent.
 */
export function decodedHeaderText(
  header: Uint8Array,
  fieldName?: string,
  charset?: string,
): string | undefined {
  const all = Buffer.from(header.buffer, header.byteOffset, header.length);
  const bytes = all.subarray(0, mimeLimits.headerBytesMax);
  const name = fieldName?.toLowerCase();
  const lines: string[] = [];
  for (const field of headerFieldsOf(bytes)) {
    if (name !== undefined && field.name !== name) continue;
    const raw = bytes.toString("latin1", field.valueStart, field.end);
    const value = decodeHeaderValue(raw, charset).trim();
    lines.push(name === undefined && field.name !== "" ? `${field.name}: ${value}` : value);
    if (raw.includes("*") && field.name.startsWith("content-")) lines.push(...extended(raw));
  }
  return name !== undefined && lines.length === 0 ? undefined : lines.join("\n");
}

/** Decoded values of the RFC 2231 parameters of a field. */
function extended(raw: string): readonly string[] {
  const { parameters } = readParameterField(raw);
  const names = new Set<string>();
  for (const name of parameters.names) {
    const star = name.indexOf("*");
    if (star > 0) names.add(name.slice(0, star));
  }
  return [...names].map((name) => parameterText(parameters, name) ?? "");
}

/**
 * Decoded text of a text/* part; empty for other types. HTML loses its tags.
 *
 * @param body the part's bytes from `bodyStart` to `bodyEnd`.
 */
export function decodedPartText(body: Uint8Array, part: PartIndex): string {
  if (!part.type.startsWith("text/")) return "";
  // RFC 2045 §6.4: what is encoded in an unknown way is shown as it is.
  const bytes = transferDecode(body, part.encoding) ?? body;
  const { charset } = part;
  const known = charset === undefined ? undefined : decodeCharset(bytes, charset);
  const text = known ?? guessCharset(bytes);
  return part.type === "text/html" ? htmlText(text) : text;
}

/** File name of a part, from Content-Disposition or Content-Type; undefined when it has none. RFC 2183 §2.3 */
export function partFileName(header: Uint8Array): string | undefined {
  const all = Buffer.from(header.buffer, header.byteOffset, header.length);
  const bytes = all.subarray(0, mimeLimits.headerBytesMax);
  let ofType: string | undefined;
  for (const field of headerFieldsOf(bytes)) {
    const wanted = field.name === "content-disposition" ? "filename" : "name";
    if (field.name !== "content-disposition" && field.name !== "content-type") continue;
    const raw = bytes.toString("latin1", field.valueStart, field.end);
    const name = parameterText(readParameterField(raw).parameters, wanted);
    if (wanted === "filename" && name !== undefined) return name;
    ofType ??= name;
  }
  return ofType;
}
