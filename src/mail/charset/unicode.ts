// Checks and normal forms of Unicode text. Bytes to text is charset.ts's business.

/** True when `text` has no lone surrogate. */
export function isWellFormed(text: string): boolean {
  return !/\p{Cs}/u.test(text);
}

/**
 * The form in which SEARCH compares: NFKC and lower case, so that case, width and composition (NFD
 * names from macOS) make no difference. Both sides must have it. RFC 9051 §6.4.4
 */
export function searchNormalise(text: string): string {
  // ASCII, Hangul syllables and unified ideographs are their own NFKC.
  if (!/[^\x00-\x7f\u4e00-\u9fff\uac00-\ud7a3]/.test(text)) return text.toLowerCase();
  return text.normalize("NFKC").toLowerCase().normalize("NFKC");
}
