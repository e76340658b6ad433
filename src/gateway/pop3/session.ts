// A POP3 session as a function: state and event in, state and effects out. It knows the protocol and
// no socket, clock or store; connection.ts performs the effects in order and feeds back what came of
// them. The marks inside the maildrop are changed in place, all else is made anew.

import { isUtf8 } from "node:buffer";
import { unreachable } from "../../lib/assert.ts";
import { authorizationCommand, challenge, continueSasl } from "./authorization.ts";
import { capabilities } from "./capabilities.ts";
import { Maildrop } from "./maildrop.ts";
import { failureReply, lostReply, updateFailureReply, wrongCredentials } from "./replies.ts";
import { bad, end, reply, withoutLogin } from "./state.ts";
import type { Pop3Command, Pop3Event, Pop3Facts, Pop3State, Pop3Step } from "./state.ts";
import { transactionCommand } from "./transaction.ts";

/** The state and greeting of a new connection. RFC 1939 §4 */
export function startSession(facts: Pop3Facts): Pop3Step {
  return [{ facts, badCommands: 0, ended: false }, [reply(`+OK ${facts.hostName} POP3 ready`)]];
}

/** The state after TLS was negotiated: all that was said before is forgotten. RFC 2595 §4 */
export function restartAfterTls({ facts }: Pop3State): Pop3State {
  return { facts: { ...facts, tls: true }, badCommands: 0, ended: false };
}

export function stepSession(state: Pop3State, event: Pop3Event): Pop3Step {
  if (state.ended) return [state, []];
  switch (event.kind) {
    case "line":
      return onLine(state, event.bytes);
    case "tooLong":
      return bad(state.inSasl ? withoutLogin(state) : state, "-ERR Line too long");
    case "loggedIn": {
      const maildrop = new Maildrop(event.contents);
      const line = `+OK ${maildrop.count} messages (${maildrop.sizeBytes} octets)`;
      return [{ facts: state.facts, badCommands: 0, maildrop, ended: false }, [reply(line)]];
    }
    case "refused":
      return bad(state, wrongCredentials);
    case "challenge":
      return challenge(state, event.bytes);
    case "malformed":
      return bad(state, `-ERR ${event.why}`);
    case "forbidden":
      return bad(state, "-ERR [AUTH] Acting for another user is not offered");
    case "failed":
      return [state, [reply(failureReply(event.failure))]];
    case "retrieved":
      state.maildrop?.markRetrieved(event.number);
      return [state, []];
    case "updated":
      return end(state, "+OK Bye");
    case "updateFailed":
      return end(state, updateFailureReply(event.failure));
    case "lost":
      return end(state, lostReply(event.failure));
    case "shutdown":
      return end(state, "-ERR [SYS/TEMP] The server is going down, try again");
    default:
      return unreachable(event);
  }
}

function onLine(state: Pop3State, bytes: Uint8Array): Pop3Step {
  // RFC 6856 §2: beyond US-ASCII there is UTF-8 and nothing else. NUL is in no command (CVE-2019-11500).
  if (!isUtf8(bytes) || bytes.includes(0)) {
    return bad(state.inSasl ? withoutLogin(state) : state, "-ERR Not UTF-8 text");
  }
  const line = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");
  if (state.inSasl) return continueSasl(state, line);
  const command = parseCommand(line);
  if (command.verb === "CAPA" && command.words.length === 0) return capabilities(state);
  const run = state.maildrop === undefined ? authorizationCommand : transactionCommand;
  return run(state, command) ?? bad(state, unknown(state, command));
}

/** Keywords are case-insensitive. RFC 1939 §3 */
function parseCommand(line: string): Pop3Command {
  const space = line.indexOf(" ");
  const verb = (space < 0 ? line : line.slice(0, space)).toUpperCase();
  const rest = space < 0 ? "" : line.slice(space + 1);
  return { verb, rest, words: rest.split(" ").filter((word) => word !== "") };
}

const verbs = new Set(
  "USER PASS AUTH STLS UTF8 STAT LIST UIDL RETR TOP DELE RSET NOOP QUIT CAPA".split(" "),
);
const loginVerbs = new Set(["USER", "PASS", "AUTH", "STLS", "UTF8"]);

function unknown(state: Pop3State, { verb }: Pop3Command): string {
  if (!verbs.has(verb)) return "-ERR No such command";
  const misplaced = (state.maildrop === undefined) !== (loginVerbs.has(verb) || verb === "QUIT");
  if (!misplaced || verb === "QUIT" || verb === "CAPA") return "-ERR Wrong arguments";
  return state.maildrop === undefined ? "-ERR Log in first" : "-ERR Already logged in";
}
