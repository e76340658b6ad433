// Character classes of the IMAP grammar as one table of bits. RFC 9051 §9

const atomBit = 1;
const astringBit = 2;
const tagBit = 4;
const listBit = 8;
const flagBit = 16;

export const SP = 0x20;
export const CR = 0x0d;
export const LF = 0x0a;
export const quote = 0x22;
export const backslash = 0x5c;
export const openParen = 0x28;
export const closeParen = 0x29;
export const openBrace = 0x7b;
export const closeBrace = 0x7d;
export const openBracket = 0x5b;
export const closeBracket = 0x5d;
export const tilde = 0x7e;
export const plus = 0x2b;
export const dash = 0x2d;
export const star = 0x2a;
export const colon = 0x3a;
export const comma = 0x2c;
export const dot = 0x2e;
export const less = 0x3c;
export const greater = 0x3e;
export const dollar = 0x24;
export const zero = 0x30;

const classes = buildClasses();

/** RFC 9051 §9 ATOM-CHAR. */
export const isAtomChar = (byte: number): boolean => has(byte, atomBit);
/** RFC 9051 §9 ASTRING-CHAR: ATOM-CHAR and `]`. */
export const isAstringChar = (byte: number): boolean => has(byte, astringBit);
/** RFC 9051 §9 tag: ASTRING-CHAR without `+`. */
export const isTagChar = (byte: number): boolean => has(byte, tagBit);
/** RFC 9051 §9 list-char: ATOM-CHAR, `%`, `*` and `]`. */
export const isListChar = (byte: number): boolean => has(byte, listBit);
/** A flag keyword: an atom; `]` is taken too, since Dovecot stores such keywords. */
export const isFlagChar = (byte: number): boolean => has(byte, flagBit);
export const isDigit = (byte: number): boolean => byte >= 0x30 && byte <= 0x39;

function has(byte: number, bit: number): boolean {
  return ((classes[byte] ?? 0) & bit) !== 0;
}

function buildClasses(): Uint8Array {
  const table = new Uint8Array(256);
  for (let byte = 0x21; byte < 0x7f; byte++) {
    const special = '(){%*"\\]'.includes(String.fromCharCode(byte));
    if (!special) table[byte] = atomBit | astringBit | tagBit | listBit | flagBit;
  }
  table[closeBracket] = astringBit | tagBit | listBit | flagBit;
  table[0x25] = listBit;
  table[star] = listBit;
  table[plus] = (table[plus] ?? 0) & ~tagBit;
  return table;
}
