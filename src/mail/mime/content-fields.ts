// Reads Content-Type and the other Content-* fields from binary text (one character a byte).
// Nothing is ever refused: what can't be read gets the defaults of RFC 2045 §5.2.

import { isBlank, oneLine, unfold } from "./imap-writer.ts";
import type { MimeBudget } from "./limits.ts";

/** `names[i]` is the lower-case name of the i-th parameter, `values[i]` its value without quotes. */
export interface Parameters {
  readonly names: readonly string[];
  readonly values: readonly string[];
}

export interface TypedValue {
  /** Lower case: `text/plain`, `attachment`. Empty when there is none. */
  readonly value: string;
  readonly parameters: Parameters;
}

export const noParameters: Parameters = { names: [], values: [] };

/** The value of the first parameter of that name. */
export function parameterOf(parameters: Parameters, name: string): string | undefined {
  const at = parameters.names.indexOf(name);
  return at < 0 ? undefined : parameters.values[at];
}

/**
 * `value; name=value; …` with comments, quoted strings, and values that should have been quoted.
 * For Content-Type the value holds the slash; blanks around it are dropped.
 */
export function readTyped(text: string, budget: MimeBudget): TypedValue {
  let at = skipBlank(text, 0);
  let value = "";
  while (at < text.length) {
    const end = tokenEnd(text, at);
    if (end > at) value += text.slice(at, end);
    at = skipBlank(text, end);
    const code = text.charCodeAt(at);
    if (code === 0x2f) {
      value += "/";
      at = skipBlank(text, at + 1);
    } else if (!value.endsWith("/") || end === at) {
      break;
    }
  }
  return { value: value.toLowerCase(), parameters: readParameters(text, at, budget) };
}

/** The first token in lower case: Content-Transfer-Encoding, Content-MD5's shape. */
export function readToken(text: string): string {
  const at = skipBlank(text, 0);
  return text.slice(at, tokenEnd(text, at));
}

/** Content-Language: tags between commas. RFC 3282 §2 */
export function readLanguages(text: string): readonly string[] {
  const tags: string[] = [];
  for (const piece of text.split(",", 100)) {
    const tag = readToken(piece);
    if (tag !== "") tags.push(tag);
  }
  return tags;
}

function readParameters(text: string, from: number, budget: MimeBudget): Parameters {
  let at = text.indexOf(";", from);
  if (at < 0) return noParameters;
  const names: string[] = [];
  const values: string[] = [];
  while (at >= 0 && at < text.length && budget.parameters > 0) {
    at = skipBlank(text, at + 1);
    const nameEnd = parameterNameEnd(text, at);
    const name = text.slice(at, nameEnd).toLowerCase();
    at = skipBlank(text, nameEnd);
    if (text.charCodeAt(at) !== 0x3d || name === "") {
      at = text.indexOf(";", at);
      continue;
    }
    at = skipBlank(text, at + 1);
    const quoted = text.charCodeAt(at) === 0x22 ? quotedEnd(text, at) : -1;
    const end = quoted >= 0 ? quoted : plainEnd(text, at);
    names.push(name);
    values.push(quoted >= 0 ? unquote(text, at + 1, end - 1) : plain(text, at, end));
    budget.parameters--;
    at = text.indexOf(";", end);
  }
  return names.length === 0 ? noParameters : { names, values };
}

/** Behind the closing quote of the string that opens at `at`. An unclosed one runs to the text's end. */
function quotedEnd(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5c) i++;
    else if (code === 0x22) return i + 1;
  }
  return text.length + 1;
}

/** Content of a quoted string without folds and backslashes. */
export function unquote(text: string, start: number, end: number): string {
  const raw = unfold(text.slice(start, end));
  return raw.includes("\\") ? raw.replaceAll(/\\(.)/gs, "$1") : raw;
}

// An unquoted value ends at blank, `;` or comment; but `name=my file (1).pdf` is read up to the `;`.
function plainEnd(text: string, at: number): number {
  const token = tokenEnd(text, at);
  let next = token;
  while (isBlank(text.charCodeAt(next))) next++;
  if (next >= text.length) return token;
  const code = text.charCodeAt(next);
  if (code === 0x3b || code === 0x28) return token;
  const semicolon = text.indexOf(";", next);
  return semicolon < 0 ? text.length : semicolon;
}

function plain(text: string, start: number, end: number): string {
  const raw = oneLine(text.slice(start, end));
  return raw.startsWith('"') ? raw.slice(1) : raw;
}

function tokenEnd(text: string, at: number): number {
  let i = at;
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x3b || code === 0x28 || code === 0x2f || isBlank(code)) {
      // A slash ends a media type, but not a parameter value such as `a/b`; there `=` came before.
      if (code !== 0x2f || text.charCodeAt(at - 1) !== 0x3d) break;
    }
  }
  return i;
}

function parameterNameEnd(text: string, at: number): number {
  let i = at;
  for (; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x3d || code === 0x3b || code === 0x28 || isBlank(code)) break;
  }
  return i;
}

/** Over blanks, folds and comments. RFC 5322 §3.2.2; an unclosed comment swallows the rest. */
function skipBlank(text: string, from: number): number {
  let at = from;
  for (;;) {
    const code = text.charCodeAt(at);
    if (isBlank(code)) {
      at++;
    } else if (code === 0x28) {
      const end = commentEnd(text, at);
      if (end < 0) return text.length;
      at = end;
    } else {
      return at;
    }
  }
}

/** Behind the comment that opens at `at`, -1 when it is never closed. */
export function commentEnd(text: string, at: number): number {
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5c) i++;
    else if (code === 0x28) depth++;
    else if (code === 0x29 && --depth === 0) return i + 1;
  }
  return -1;
}
