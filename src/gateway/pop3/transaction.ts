// The commands after login, on the maildrop as it was when the lock was got. RFC 1939 §5

import type { Maildrop } from "./maildrop.ts";
import { bad, reply } from "./state.ts";
import type { Pop3Command, Pop3State, Pop3Step } from "./state.ts";

/** The step for a command, or undefined when it is not one of these or its arguments are wrong. */
export function transactionCommand(state: Pop3State, command: Pop3Command): Pop3Step | undefined {
  const { maildrop } = state;
  const { verb, words } = command;
  if (maildrop === undefined) return undefined;
  switch (verb) {
    case "STAT":
      return words.length === 0 ? ok(state, `${maildrop.count} ${maildrop.sizeBytes}`) : undefined;
    case "LIST":
      return listing(state, maildrop, words, (number) => `${maildrop.size(number)}`);
    case "UIDL":
      return listing(state, maildrop, words, (number) => maildrop.uniqueId(number));
    case "RETR":
      return words.length === 1 ? retrieve(state, maildrop, words[0]) : undefined;
    case "TOP":
      return words.length === 2 ? top(state, maildrop, words) : undefined;
    case "DELE":
      return words.length === 1 ? remove(state, maildrop, words[0]) : undefined;
    case "NOOP":
      return words.length === 0 ? ok(state, "Nothing done") : undefined;
    case "RSET":
      if (words.length > 0) return undefined;
      maildrop.reset();
      return ok(state, `${maildrop.count} messages (${maildrop.sizeBytes} octets)`);
    case "QUIT": {
      if (words.length > 0) return undefined;
      return [state, [{ kind: "update", ...maildrop.outcome() }]];
    }
    default:
      return undefined;
  }
}

function listing(
  state: Pop3State,
  maildrop: Maildrop,
  words: readonly string[],
  show: (number: number) => string,
): Pop3Step | undefined {
  if (words.length > 1) return undefined;
  if (words.length === 0) {
    const first = `+OK ${maildrop.count} messages (${maildrop.sizeBytes} octets)`;
    return [state, [{ kind: "lines", first, lines: linesOf(maildrop, show) }]];
  }
  return withNumber(state, maildrop, words[0], (number) => ok(state, `${number} ${show(number)}`));
}

/** Made line by line while they go out: a maildrop may be large. */
function* linesOf(maildrop: Maildrop, show: (number: number) => string): Generator<string> {
  for (let number = 1; number <= maildrop.last; number++) {
    if (!maildrop.isDeleted(number)) yield `${number} ${show(number)}`;
  }
}

function retrieve(state: Pop3State, maildrop: Maildrop, word: string | undefined): Pop3Step {
  return withNumber(state, maildrop, word, (number) => {
    const first = `+OK ${maildrop.size(number)} octets`;
    return [state, [{ kind: "message", number, first }]];
  });
}

function top(state: Pop3State, maildrop: Maildrop, words: readonly string[]): Pop3Step {
  const bodyLines = parseNumber(words[1]);
  if (bodyLines === undefined) return bad(state, "-ERR Not a number of lines");
  return withNumber(state, maildrop, words[0], (number) => {
    const first = "+OK Top of the message follows";
    return [state, [{ kind: "message", number, first, bodyLines }]];
  });
}

function remove(state: Pop3State, maildrop: Maildrop, word: string | undefined): Pop3Step {
  return withNumber(state, maildrop, word, (number) => {
    maildrop.markDeleted(number);
    return ok(state, `Message ${number} goes at QUIT`);
  });
}

/** RFC 1939 §5: a message marked deleted can't be referred to any more. */
function withNumber(
  state: Pop3State,
  maildrop: Maildrop,
  word: string | undefined,
  run: (number: number) => Pop3Step,
): Pop3Step {
  const number = parseNumber(word);
  if (number === undefined) return bad(state, "-ERR Not a message number");
  if (number < 1 || number > maildrop.last) {
    return [state, [reply(`-ERR No such message, the last is ${maildrop.last}`)]];
  }
  if (maildrop.isDeleted(number)) return [state, [reply(`-ERR Message ${number} is deleted`)]];
  return run(number);
}

function parseNumber(word: string | undefined): number | undefined {
  return word !== undefined && /^\d{1,10}$/.test(word) ? Number(word) : undefined;
}

function ok(state: Pop3State, text: string): Pop3Step {
  return [state, [reply(`+OK ${text}`)]];
}
