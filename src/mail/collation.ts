// The collation i;unicode-casemap, by which SORT and THREAD order and compare texts. RFC 5051

/**
 * A key of the text: two texts are equal when their keys are, and sort as their keys do with `<`.
 * The text in titlecase, decomposed, as UTF-8 with one character a byte. RFC 5051 §2
 */
export function casemapKey(text: string): string {
  // Most texts are ASCII, whose titlecase is its upper case.
  if (/^[\x00-\x7f]*$/.test(text)) return text.toUpperCase();
  let titled = "";
  for (const character of text) titled += titlecase(character);
  return Buffer.from(titled.normalize("NFKD"), "utf8").toString("latin1");
}

/** The simple titlecase mapping of one character: mostly its upper case, where that is one character. */
function titlecase(character: string): string {
  const known = ownTitlecase.get(character);
  if (known !== undefined) return known;
  const upper = character.toUpperCase();
  return upper.length === character.length ? upper : character;
}

/** Characters whose titlecase is not what `toUpperCase` gives. */
const ownTitlecase: ReadonlyMap<string, string> = new Map(
  [
    // Digraphs: Dž, Lj, Nj, Dz.
    ...[0x1c4, 0x1c7, 0x1ca, 0x1f1].flatMap((first) =>
      [first, first + 1, first + 2].map((code) => [code, first + 1] as const),
    ),
    // Greek letters with iota subscript.
    ...[0x1f80, 0x1f90, 0x1fa0].flatMap((first) =>
      Array.from({ length: 8 }, (_, i) => [first + i, first + i + 8] as const),
    ),
    ...[0x1fb3, 0x1fc3, 0x1ff3].map((code) => [code, code + 9] as const),
    // Georgian letters are titlecase already.
    ...Array.from({ length: 0x30 }, (_, i) => [0x10d0 + i, 0x10d0 + i] as const),
  ].map(([from, to]) => [String.fromCodePoint(from), String.fromCodePoint(to)]),
);
