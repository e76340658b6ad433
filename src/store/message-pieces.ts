// What of a message SEARCH looks at: its header, the headers of inner parts and the bodies of text parts,
// each decoded and in the form in which texts are compared. Pure, so that the scan and the worker that
// builds the search index see the same text. Whose bytes they are is the caller's business.

import { asBuffer } from "../lib/bytes.ts";
import { searchNormalise } from "../mail/charset/unicode.ts";
import type { PartIndex } from "../mail/message-index.ts";
import { decodedHeaderText, decodedPartText } from "../mail/mime/text.ts";

/** Of a larger text part only the beginning is searched. */
const partBytesMax = 16 * 1024 * 1024;

type UsePiece = (start: number, end: number, part: PartIndex | undefined) => void;

/** The headers of inner parts (without `part`) and the bodies of text parts, in order. */
export function forPieces(root: PartIndex, use: UsePiece): void {
  const inner = root.children ?? (root.message === undefined ? undefined : [root.message]);
  if (inner !== undefined) {
    for (const child of inner) {
      use(child.headerStart, child.bodyStart, undefined);
      forPieces(child, use);
    }
  } else if (root.type.startsWith("text/")) {
    use(root.bodyStart, Math.min(root.bodyEnd, root.bodyStart + partBytesMax), root);
  }
}

/** Bytes of a header, or with `part` of a text part's body. */
export interface RawPiece {
  readonly bytes: Uint8Array;
  readonly part: PartIndex | undefined;
}

/** For each text whether a message's body has it; between two pieces there is a line end. */
export function piecesHave(pieces: readonly RawPiece[], texts: readonly string[]): boolean[] {
  const has = texts.map((text) => text === "");
  const lines = texts.some((text) => text.includes("\n")) ? [""] : undefined;
  for (const { bytes, part } of pieces) {
    const decoded = pieceText(asBuffer(bytes), part);
    lines?.push(decoded);
    for (const [at, text] of texts.entries()) has[at] ||= decoded.includes(text);
  }
  if (lines === undefined) return has;
  const all = lines.slice(1).join("\n");
  return texts.map((text, at) => has[at] === true || (text.includes("\n") && all.includes(text)));
}

/** Text of a piece: of a header, or with `part` of a text part's body. */
export function pieceText(bytes: Buffer, part: PartIndex | undefined): string {
  return searchNormalise(
    part === undefined ? (decodedHeaderText(bytes) ?? "") : decodedPartText(bytes, part),
  );
}
