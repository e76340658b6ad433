// Joins the pieces of parameters that were cut into several (RFC 2231 §3) for BODYSTRUCTURE. Text for
// people, decoded, is parameter-text.ts's business.

import type { Parameters } from "./content-fields.ts";

const pieceName = /^(.+)\*(\d{1,3})(\*?)$/;

/**
 * RFC 2231 §6: IMAP servers join them. `baz*0` and `baz*1` become `baz`, and when a piece is percent-encoded (`foo*0*`)
 * they become `foo*`, still encoded. Pieces count from 0 without a gap; others stay as they are.
 */
export function joinContinuations(parameters: Parameters): Parameters {
  const { names, values } = parameters;
  if (!names.some((name) => name.includes("*0"))) return parameters;
  const joined: { names: string[]; values: string[] } = { names: [], values: [] };
  const used = new Set<number>();
  for (let at = 0; at < names.length; at++) {
    const base = pieceName.exec(names[at] ?? "")?.[1];
    const pieces = base === undefined ? [] : piecesOf(base, names);
    if (base === undefined || !pieces.includes(at)) {
      joined.names.push(names[at] ?? "");
      joined.values.push(values[at] ?? "");
    } else if (!used.has(at)) {
      for (const piece of pieces) used.add(piece);
      const encoded = pieces.some((piece) => isEncoded(names[piece]));
      joined.names.push(encoded ? `${base}*` : base);
      joined.values.push(
        pieces
          .map((piece) => valueOf(values[piece] ?? "", encoded && !isEncoded(names[piece])))
          .join(""),
      );
    }
  }
  return joined;
}

/** Where the pieces 0, 1, 2, … of a parameter are. */
function piecesOf(base: string, names: readonly string[]): readonly number[] {
  const pieces: number[] = [];
  for (;;) {
    const plain = `${base}*${pieces.length}`;
    const at = names.findIndex((name) => name === plain || name === `${plain}*`);
    if (at < 0) return pieces;
    pieces.push(at);
  }
}

function isEncoded(name: string | undefined): boolean {
  return name?.endsWith("*") === true;
}

/** A plain piece among encoded ones must be encoded too, or its `%` would be taken for one of theirs. */
function valueOf(value: string, encode: boolean): string {
  if (!encode) return value;
  return value.replaceAll(
    /[^A-Za-z0-9!#$&+.^_`{|}~-]/g,
    (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`,
  );
}
