// Runs protocol dialogues written as text files, for SMTP, IMAP and POP3 alike. One step a line:
//
//   # comment                    an empty line is skipped too
//   C: text                      sends the text and CRLF, without waiting for anything
//   C> text                      sends the text alone, after \r \n \t \0 \\ \xNN are replaced
//   S: pattern                   the next line from the server must match as a whole
//   S~ pattern                   neighbouring S~ lines must match the next lines in any order
//   S.. pattern                  skips lines up to and with one that matches
//   STARTTLS                     turns to TLS; fails if plaintext is still unread
//   DEFLATE, INFLATED            turns to deflate in both directions, and back
//   END                          ends our direction
//   EOF                          the server must close, with nothing more said
//   CLOSE                        drops the connection
//
// `C@b:`, `S@b:`, `EOF@b` … speak on a further connection `b`, opened when first named.
// In patterns `<any>` is any text, `<num>` digits, `</re/>` a regular expression; `<any:x>`,
// `<num:x>`, `</re/:x>` also keep what matched as `x`. In patterns and sent text alike `${x}` is
// what was kept or given as a variable; `${base64:text}` (with the escapes of C>, and `$x` for a
// variable) and `${repeat:count:text}` are made on the spot. At the end nothing may be left unread.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LineClient } from "./line-client.ts";
import type { LineClientOptions } from "./line-client.ts";

export interface DialogueOptions extends LineClientOptions {
  readonly variables?: Readonly<Record<string, string>>;
}

interface Step {
  readonly line: number;
  readonly verb: string;
  readonly connection: string;
  readonly text: string;
}

interface Run {
  readonly options: DialogueOptions;
  readonly name: string;
  readonly clients: Map<string, LineClient>;
  readonly variables: Map<string, string>;
  readonly transcript: string[];
}

const transcriptLines = 25;

/** Names (`login.txt`) of the dialogues in test/dialogues/`folder`, sorted. */
export function dialogueNames(folder: string): readonly string[] {
  return readdirSync(dialoguePath(folder))
    .filter((name) => name.endsWith(".txt"))
    .sort();
}

/** Runs test/dialogues/`folder`/`name`. Rejects as runDialogue does. */
export function runDialogueFile(
  folder: string,
  name: string,
  options: DialogueOptions,
): Promise<ReadonlyMap<string, string>> {
  const text = readFileSync(join(dialoguePath(folder), name), "utf8");
  return runDialogue(`${folder}/${name}`, text, options);
}

/**
 * Runs one dialogue against a listening server and returns the variables at the end.
 * Rejects at the first difference with the place, what was expected, what came, and what was said.
 */
export async function runDialogue(
  name: string,
  text: string,
  options: DialogueOptions,
): Promise<ReadonlyMap<string, string>> {
  const steps = parseDialogue(name, text);
  const run: Run = {
    options,
    name,
    clients: new Map(),
    variables: new Map(Object.entries(options.variables ?? {})),
    transcript: [],
  };
  try {
    for (let at = 0; at < steps.length; at++) {
      const step = steps[at];
      if (step === undefined) break;
      if (step.verb !== "S~") {
        await perform(run, step);
        continue;
      }
      const group = groupFrom(steps, at);
      await expectAnyOrder(run, group);
      at += group.length - 1;
    }
    checkNothingUnread(run);
    return run.variables;
  } finally {
    for (const client of run.clients.values()) client.close();
  }
}

function parseDialogue(name: string, text: string): readonly Step[] {
  return text.split(/\r?\n/).flatMap((source, index): Step[] => {
    if (source.trim() === "" || source.startsWith("#")) return [];
    const talk = /^([CS])(?:@(\w+))?(:|>|~|\.\.)(?: (.*))?$/.exec(source);
    const directive = /^(STARTTLS|DEFLATE|INFLATED|END|EOF|CLOSE)(?:@(\w+))?$/.exec(source.trim());
    const verb = talk === null ? directive?.[1] : `${talk[1]}${talk[3]}`;
    if (verb === undefined || ["C~", "C..", "S>"].includes(verb)) {
      throw new Error(`${name}:${index + 1}: not a step of a dialogue: ${source}`);
    }
    const connection = (talk === null ? directive?.[2] : talk[2]) ?? "";
    return [{ line: index + 1, verb, connection, text: talk?.[4] ?? "" }];
  });
}

async function perform(run: Run, step: Step): Promise<void> {
  const client = await clientOf(run, step.connection).catch(failAt(run, step));
  switch (step.verb) {
    case "C:":
    case "C>": {
      const text = substitute(run, step, step.text);
      const data = step.verb === "C:" ? Buffer.from(`${text}\r\n`) : unescape(text);
      note(run, step, "C", data.toString("latin1"));
      client.send(data);
      return;
    }
    case "S:":
      return expectLine(run, step, client);
    case "S..":
      return skipTo(run, step, client);
    case "STARTTLS":
      return client.startTls().catch(failAt(run, step));
    case "DEFLATE":
      client.startDeflate();
      return;
    case "INFLATED":
      client.endDeflate();
      return;
    case "END":
      return client.end();
    case "EOF":
      return client.readEnd().catch(failAt(run, step));
    case "CLOSE":
      client.close();
      run.clients.delete(step.connection);
      return;
    default:
      throw new Error(`no such verb: ${step.verb}`);
  }
}

async function expectLine(run: Run, step: Step, client: LineClient): Promise<void> {
  const line = await readNoted(run, step, client);
  if (!matchLine(run, step, line)) throw difference(run, step, [step.text], line);
}

async function skipTo(run: Run, step: Step, client: LineClient): Promise<void> {
  while (!matchLine(run, step, await readNoted(run, step, client))) continue;
}

async function expectAnyOrder(run: Run, group: readonly Step[]): Promise<void> {
  const open = [...group];
  for (let first = open[0]; first !== undefined; first = open[0]) {
    const client = await clientOf(run, first.connection);
    const line = await readNoted(run, first, client);
    const found = open.findIndex((step) => matchLine(run, step, line));
    if (found < 0)
      throw difference(
        run,
        first,
        open.map(({ text }) => text),
        line,
      );
    open.splice(found, 1);
  }
}

async function readNoted(run: Run, step: Step, client: LineClient): Promise<string> {
  const line = await client.readLine().catch(failAt(run, step));
  note(run, step, "S", line);
  return line;
}

function groupFrom(steps: readonly Step[], at: number): readonly Step[] {
  const first = steps[at];
  let end = at;
  while (steps[end]?.verb === "S~" && steps[end]?.connection === first?.connection) end++;
  return steps.slice(at, end);
}

/** Matches the whole line; keeps the named placeholders when it does. */
function matchLine(run: Run, step: Step, line: string): boolean {
  const names: string[] = [];
  const placeholder = /<(?:(any|num)|\/(.*?)\/)(?::(\w+))?>/g;
  let source = "";
  let last = 0;
  for (const found of step.text.matchAll(placeholder)) {
    source += literal(substitute(run, step, step.text.slice(last, found.index)));
    const inner = found[2] ?? (found[1] === "num" ? "[0-9]+" : ".*");
    source += found[3] === undefined ? `(?:${inner})` : `(?<v${names.push(found[3]) - 1}>${inner})`;
    last = found.index + found[0].length;
  }
  source += literal(substitute(run, step, step.text.slice(last)));
  const match = new RegExp(`^${source}$`, "su").exec(line);
  names.forEach((name, at) => {
    const value = match?.groups?.[`v${at}`];
    if (value !== undefined) run.variables.set(name, value);
  });
  return match !== null;
}

function substitute(run: Run, step: Step, text: string): string {
  return text.replaceAll(/\$\{([^}]*)\}/g, (_, inner: string) => {
    const repeat = /^repeat:(\d+):(.*)$/s.exec(inner);
    if (repeat !== null) return (repeat[2] ?? "").repeat(Number(repeat[1]));
    if (inner.startsWith("base64:")) {
      const plain = inner.slice("base64:".length).replaceAll(/\$(\w+)/g, (_match, name: string) => {
        return run.variables.get(name) ?? `$${name}`;
      });
      return unescape(plain).toString("base64");
    }
    const value = run.variables.get(inner);
    if (value === undefined) throw new Error(`${run.name}:${step.line}: no variable ${inner}`);
    return value;
  });
}

/** `\xNN` is that byte, whatever stands around it. */
function unescape(text: string): Buffer {
  const letters: Readonly<Record<string, string>> = { r: "\r", n: "\n", t: "\t", "0": "\0" };
  const parts = text.split(/(\\x[0-9a-fA-F]{2}|\\.)/).map((part) => {
    if (part.startsWith("\\x") && part.length === 4) return Buffer.from(part.slice(2), "hex");
    if (part.startsWith("\\")) return Buffer.from(letters[part.slice(1)] ?? part.slice(1));
    return Buffer.from(part);
  });
  return Buffer.concat(parts);
}

async function clientOf(run: Run, connection: string): Promise<LineClient> {
  const known = run.clients.get(connection);
  if (known !== undefined) return known;
  const client = await LineClient.connect(run.options);
  run.clients.set(connection, client);
  return client;
}

function checkNothingUnread(run: Run): void {
  for (const [connection, client] of run.clients) {
    if (client.unread() === "") continue;
    throw new Error(
      `${run.name}: unread at the end${connection && ` on ${connection}`}:\n${client.unread()}`,
    );
  }
}

function note(run: Run, step: Step, who: "C" | "S", text: string): void {
  const label = step.connection === "" ? who : `${who}@${step.connection}`;
  run.transcript.push(`${label}: ${text.replace(/\r\n$/, "").slice(0, 300)}`);
}

function difference(run: Run, step: Step, expected: readonly string[], line: string): Error {
  const wanted = expected.map((text) => `  expected  ${text}`).join("\n");
  return failure(run, step, `${wanted}\n  got       ${line}`);
}

function failAt(run: Run, step: Step): (error: unknown) => never {
  return (error) => {
    const why = error instanceof Error ? error.message : String(error);
    throw failure(run, step, `  step      ${step.verb} ${step.text}\n  failed    ${why}`);
  };
}

function failure(run: Run, step: Step, what: string): Error {
  const said = run.transcript.slice(-transcriptLines).join("\n  ");
  return new Error(`${run.name}:${step.line}\n${what}\n\nsaid so far:\n  ${said}`);
}

function dialoguePath(folder: string): string {
  return fileURLToPath(new URL(`../dialogues/${folder}`, import.meta.url));
}

function literal(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
