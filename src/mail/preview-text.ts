// The beginning of a message's text as one line, for listings. Which part's text, and decoding, are
// the caller's business. RFC 8970 §3.3

/** RFC 8970 §3.3: 200 characters, and never more than 256. */
const previewCharactersMax = 200;
/** Of longer text only the beginning is looked at. */
const looked = 16 * 1024;

/**
 * Text without line ends, with quoted lines left out as long as there are others. Control characters
 * and blanks in a row become one space.
 */
export function previewText(text: string): string {
  const beginning = text.slice(0, looked);
  const own = squeeze(beginning.replaceAll(/^[ \t]*>.*$/gm, ""));
  return cut(own === "" ? squeeze(beginning) : own);
}

function squeeze(text: string): string {
  // U+FEFF and zero-width characters fill the preview lines of newsletters.
  return text
    .replaceAll(/[\p{Cc}\p{Zs}\p{Zl}\p{Zp}\u034f\u200b-\u200f\u2060-\u2064\ufeff]+/gu, " ")
    .trim();
}

function cut(text: string): string {
  if (text.length <= previewCharactersMax) return text;
  let end = 0;
  let left = previewCharactersMax;
  for (const character of text) {
    if (left-- === 0) break;
    end += character.length;
  }
  return text.slice(0, end).trimEnd();
}
