// MAIL FROM and RCPT TO: the path and its parameters. Pure. Leaves what an address means to others.

/** `path` is without its angle brackets; parameters have upper-case names. */
export interface PathCommand {
  readonly path: string;
  readonly parameters: ReadonlyMap<string, string>;
}

export type PathResult =
  | { readonly ok: true; readonly command: PathCommand }
  | { readonly ok: false; readonly reply: string };

const noParameters: ReadonlyMap<string, string> = new Map();
// Lone surrogates can't come out of UTF-8; U+FFFD stands for bytes that were none.
const controls = /[\u0000-\u001f\u007f-\u009f\ufffd]/;

/**
 * Parses what follows `MAIL FROM:` or `RCPT TO:`. Tolerates spaces before the path and a path without
 * brackets, as Outlook and old scripts send. RFC 5321 §4.1.2, §3.3 (no spaces, but tolerated)
 */
export function parsePathCommand(line: string, verb: "MAIL FROM" | "RCPT TO"): PathResult {
  const syntax = `501 5.5.4 Syntax: ${verb}:<address>`;
  const colon = line.indexOf(":");
  const words = line.slice(0, Math.max(0, colon));
  if (words !== verb && words.trim().replace(/\s+/, " ").toUpperCase() !== verb)
    return refuse(syntax);
  const rest = line.slice(colon + 1).trim();
  if (controls.test(rest))
    return refuse("501 5.5.2 Control characters and broken UTF-8 are not allowed");
  const end = endOfPath(rest);
  if (end === -1) return refuse(syntax);
  const bracketed = rest.startsWith("<");
  const path = bracketed ? rest.slice(1, end - 1) : rest.slice(0, end);
  if (!bracketed && path === "") return refuse(syntax);
  if (end === rest.length) return { ok: true, command: { path, parameters: noParameters } };
  // RFC 5321 §4.1.2: a blank stands between the path and its parameters.
  if (rest[end] !== " ") return refuse(syntax);
  const parameters = parseParameters(rest.slice(end));
  if (typeof parameters === "string") return refuse(parameters);
  return { ok: true, command: { path, parameters } };
}

/** A reverse path without its source route, which is to be ignored. RFC 5321 §4.1.2, §C */
export function withoutSourceRoute(path: string): string {
  if (!path.startsWith("@")) return path;
  return /^@[^\s,:@]+(?:,@[^\s,:@]+)*:(.*)$/.exec(path)?.[1] ?? path;
}

function refuse(reply: string): PathResult {
  return { ok: false, reply };
}

/** Index behind the path: `>` counts only outside quotes. -1: no end. */
function endOfPath(text: string): number {
  if (!text.startsWith("<")) {
    const space = text.indexOf(" ");
    return space === -1 ? text.length : space;
  }
  let quoted = false;
  for (let i = 1; i < text.length; i++) {
    const char = text[i];
    if (quoted && char === "\\") i++;
    else if (char === '"') quoted = !quoted;
    else if (char === ">" && !quoted) return i + 1;
    else if (char === "<" && !quoted) return -1;
  }
  return -1;
}

/** RFC 5321 §4.1.2 esmtp-param; a parameter given twice is refused. */
function parseParameters(text: string): ReadonlyMap<string, string> | string {
  const parameters = new Map<string, string>();
  for (const word of text.split(/\s+/)) {
    if (word === "") continue;
    const match = /^([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^=\s]+))?$/.exec(word);
    if (match === null) return "501 5.5.4 Malformed parameter";
    const name = (match[1] ?? "").toUpperCase();
    if (parameters.has(name)) return `501 5.5.4 ${name} given twice`;
    parameters.set(name, match[2] ?? "");
  }
  return parameters;
}
