// A MIME part while its message is being indexed, and what its Content-* fields say. The finished
// tree becomes a PartIndex and a BODYSTRUCTURE; nodes themselves never leave mail/mime.

import type { PartIndex } from "../message-index.ts";
import type { Parameters } from "./content-fields.ts";
import {
  noParameters,
  parameterOf,
  readLanguages,
  readToken,
  readTyped,
} from "./content-fields.ts";
import type { HeaderValues } from "./header-values.ts";
import { isBlank, oneLine } from "./imap-writer.ts";
import type { MimeBudget } from "./limits.ts";
import { mimeLimits } from "./limits.ts";

/** Content-* fields of a part, with defaults filled in. Binary text. */
export interface PartFields {
  readonly type: string;
  readonly parameters: Parameters;
  readonly encoding: string;
  readonly id: string | undefined;
  readonly description: string | undefined;
  readonly md5: string | undefined;
  readonly disposition: string | undefined;
  readonly dispositionParameters: Parameters;
  readonly languages: readonly string[];
  readonly location: string | undefined;
}

export interface PartNode {
  readonly headerStart: number;
  bodyStart: number;
  bodyEnd: number;
  kind: "open" | "leaf" | "multipart" | "message";
  fields: PartFields;
  /** Lines counted in the message when the body began; then the body's own. */
  lines: number;
  /** Delimiter line without the final `--`, binary; of multiparts that may still get children. */
  delimiter?: string;
  readonly children: PartNode[];
  message?: PartNode;
  /** Rendered, of roots of embedded messages. */
  envelope?: Uint8Array;
}

const plainFields: PartFields = {
  type: "text/plain",
  parameters: noParameters,
  encoding: "7bit",
  id: undefined,
  description: undefined,
  md5: undefined,
  disposition: undefined,
  location: undefined,
  dispositionParameters: noParameters,
  languages: [],
};

/** A part whose header begins at `headerStart`. */
export function openNode(headerStart: number): PartNode {
  return {
    headerStart,
    bodyStart: headerStart,
    bodyEnd: headerStart,
    kind: "open",
    fields: plainFields,
    lines: 0,
    children: [],
  };
}

/** Reads a part's fields. `inDigest`: RFC 2046 §5.1.5 makes message/rfc822 the default type. */
export function readFields(
  header: HeaderValues,
  inDigest: boolean,
  budget: MimeBudget,
): PartFields {
  const type = readType(header.contentType, inDigest, budget);
  const encoding =
    header.contentTransferEncoding === undefined ? "" : readToken(header.contentTransferEncoding);
  const disposition =
    header.contentDisposition === undefined
      ? undefined
      : readTyped(header.contentDisposition, budget);
  return {
    type: type.value,
    parameters: type.parameters,
    encoding: encoding === "" ? "7bit" : encoding.toLowerCase(),
    id: line(header.contentId),
    description: line(header.contentDescription),
    md5: line(header.contentMd5),
    disposition: disposition?.value === "" ? undefined : disposition?.value,
    dispositionParameters: disposition?.parameters ?? noParameters,
    languages: header.contentLanguage === undefined ? [] : readLanguages(header.contentLanguage),
    location: line(header.contentLocation?.replaceAll(/[ \t\r\n]+/g, "")),
  };
}

/** The value on one line, undefined when it is empty. */
function line(value: string | undefined): string | undefined {
  const text = value === undefined ? "" : oneLine(value);
  return text === "" ? undefined : text;
}

function readType(
  value: string | undefined,
  inDigest: boolean,
  budget: MimeBudget,
): { readonly value: string; readonly parameters: Parameters } {
  if (value === undefined) {
    return { value: inDigest ? "message/rfc822" : "text/plain", parameters: noParameters };
  }
  const type = readTyped(value, budget);
  // RFC 2045 §5.2: what is no media type is treated as text/plain.
  const slash = type.value.indexOf("/");
  const whole = slash > 0 && slash < type.value.length - 1 && !type.value.includes("/", slash + 1);
  return whole ? type : { value: "text/plain", parameters: type.parameters };
}

/** The delimiter line of a multipart's fields; undefined when it has no usable boundary. */
export function delimiterOf(fields: PartFields): string | undefined {
  const boundary = parameterOf(fields.parameters, "boundary");
  if (boundary === undefined || boundary.length > mimeLimits.boundaryBytesMax) return undefined;
  let end = boundary.length;
  while (end > 0 && isBlank(boundary.charCodeAt(end - 1))) end--;
  return end === 0 ? undefined : `--${boundary.slice(0, end)}`;
}

/** Turns a multipart that has no parts, or can't have any, into a leaf that clients can read. */
export function makeLeaf(node: PartNode, type: "text/plain" | "application/octet-stream"): void {
  node.kind = "leaf";
  node.fields = { ...node.fields, type, parameters: noParameters };
}

/** The finished tree as stored. */
export function partIndex(node: PartNode): PartIndex {
  const { headerStart, bodyStart, bodyEnd, fields } = node;
  const charset = fields.type.startsWith("text/")
    ? parameterOf(fields.parameters, "charset")?.toLowerCase()
    : undefined;
  return {
    headerStart,
    bodyStart,
    bodyEnd,
    type: fields.type,
    encoding: fields.encoding,
    ...(charset === undefined || charset === "" ? {} : { charset }),
    ...(node.kind === "multipart" ? { children: node.children.map(partIndex) } : {}),
    ...(node.kind === "message" && node.message !== undefined
      ? { message: partIndex(node.message) }
      : {}),
  };
}
