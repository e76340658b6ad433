// Finds what a FETCH section names in the tree of parts. Cutting the bytes, decoding and labels are
// the store's business.

import type { FetchSection } from "../mail-store.ts";
import type { PartIndex } from "../message-index.ts";

/** Bytes of the message, `end` exclusive. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
  /** The part they belong to; for `binary` its `encoding` says how to decode them. */
  readonly part: PartIndex;
}

/**
 * The part at `path`, undefined when there is none. RFC 9051 §6.4.5.1: part 1 of a message that is
 * no multipart is its body; the parts of an embedded message are numbered below the part that holds it.
 */
export function findPart(root: PartIndex, path: readonly number[]): PartIndex | undefined {
  let part = root;
  // True while `part` stands for a message, whose only part may be its own body.
  let whole = true;
  for (const number of path) {
    if (part.children === undefined && !whole) {
      if (part.message === undefined) return undefined;
      part = part.message;
      whole = true;
    }
    if (part.children !== undefined) {
      const child = part.children[number - 1];
      if (child === undefined) return undefined;
      part = child;
    } else if (number !== 1) {
      return undefined;
    }
    whole = false;
  }
  return part;
}

/**
 * Where the bytes of a section lie; undefined when the message has no such part. For `fields` and
 * `fieldsNot` it is the whole header, to be cut by `headerFields`.
 */
export function sectionRange(
  root: PartIndex,
  section: Pick<FetchSection, "path" | "kind">,
): ByteRange | undefined {
  const { path, kind } = section;
  const part = findPart(root, path);
  if (part === undefined) return undefined;
  switch (kind) {
    case "body":
    case "binary":
    case "binarySize":
      if (path.length === 0) return { start: part.headerStart, end: part.bodyEnd, part };
      return { start: part.bodyStart, end: part.bodyEnd, part };
    case "mime":
      // RFC 9051 §6.4.5.1: MIME needs a part number.
      if (path.length === 0) return undefined;
      return { start: part.headerStart, end: part.bodyStart, part };
    case "header":
    case "fields":
    case "fieldsNot":
    case "text": {
      // Below a part number these belong to embedded messages only.
      const message = path.length === 0 ? part : part.message;
      if (message === undefined) return undefined;
      if (kind === "text") return { start: message.bodyStart, end: message.bodyEnd, part: message };
      return { start: message.headerStart, end: message.bodyStart, part: message };
    }
    default:
      return undefined;
  }
}
