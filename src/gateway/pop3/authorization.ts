// The commands before login: USER and PASS, AUTH with its exchanges, STLS, UTF8, QUIT. Decides who
// may try; whether a password is right is the authenticator's business.

import { bad, end, reply, withoutLogin } from "./state.ts";
import { offeredMechanisms } from "../sasl/mechanisms.ts";
import type { SaslMechanism } from "../sasl/mechanisms.ts";
import { fromBase64 } from "../sasl/text.ts";
import type { Pop3Command, Pop3Facts, Pop3State, Pop3Step } from "./state.ts";

const needsTls = "-ERR Passwords are not accepted in the clear, use STLS first";

/** The mechanisms of AUTH on this connection, as it is now. */
export function offeredTo({
  tls,
  plaintextLogin,
  mechanisms,
}: Pop3Facts): readonly SaslMechanism[] {
  return tls || plaintextLogin ? offeredMechanisms(mechanisms, tls) : [];
}

/** USER and PASS go where a mechanism does that gives the password itself. */
export function maySendPassword(facts: Pop3Facts): boolean {
  return offeredTo(facts).some((each) => each === "PLAIN" || each === "LOGIN");
}

/** The step for a command, or undefined when it is not one of these or its arguments are wrong. */
export function authorizationCommand(state: Pop3State, command: Pop3Command): Pop3Step | undefined {
  const { verb, rest, words } = command;
  switch (verb) {
    case "USER":
      if (words.length === 0) return undefined;
      if (!maySendPassword(state.facts)) return bad(state, needsTls);
      // The same answer for every name: whether it exists is not told. RFC 1939 §7
      return [{ ...state, user: rest.trim() }, [reply("+OK Send the password")]];
    case "PASS": {
      if (!maySendPassword(state.facts)) return bad(state, needsTls);
      if (state.user === undefined) return bad(state, "-ERR USER first");
      // RFC 1939 §7: spaces are part of the password.
      return login(state, state.user, rest);
    }
    case "AUTH":
      return auth(state, words);
    case "STLS":
      return words.length === 0 ? stls(state) : undefined;
    case "UTF8":
      // RFC 6856 §2.1. Stored mail is sent as it is in either mode, as other servers do since its
      // header would otherwise have to be made anew, and UIDL and sizes with it.
      return words.length === 0 ? [state, [reply("+OK UTF-8 it is")]] : undefined;
    case "QUIT":
      return words.length === 0 ? end(state, "+OK Bye") : undefined;
    default:
      return undefined;
  }
}

/** The client's next line in an AUTH exchange. RFC 5034 §4 */
export function continueSasl(state: Pop3State, line: string): Pop3Step {
  if (line === "*") return bad(withoutLogin(state), "-ERR Authentication cancelled");
  const response = fromBase64(line);
  if (response === undefined) return badBase64(state);
  return [withoutLogin(state), [{ kind: "continueSasl", response }]];
}

/** The exchange goes on with the client's answer to this. */
export function challenge(state: Pop3State, bytes: Uint8Array): Pop3Step {
  const line = `+ ${Buffer.from(bytes).toString("base64")}`;
  return [{ ...withoutLogin(state), inSasl: true }, [reply(line)]];
}

function auth(state: Pop3State, words: readonly string[]): Pop3Step | undefined {
  const [name, said, ...more] = words;
  if (more.length > 0) return undefined;
  const offered = offeredTo(state.facts);
  if (name === undefined) {
    if (offered.length === 0) return bad(state, needsTls);
    return [state, [{ kind: "lines", first: "+OK Mechanisms follow", lines: offered }]];
  }
  const mechanism = offered.find((each) => each === name.toUpperCase());
  if (mechanism === undefined) {
    return bad(state, offered.length === 0 ? needsTls : "-ERR No such mechanism");
  }
  const clean = withoutLogin(state);
  if (said === undefined) return [clean, [{ kind: "startSasl", mechanism }]];
  // RFC 5034 §4: `=` is an empty initial response.
  const initial = said === "=" ? Buffer.alloc(0) : fromBase64(said);
  if (initial === undefined) return badBase64(clean);
  return [clean, [{ kind: "startSasl", mechanism, initial }]];
}

function login(state: Pop3State, user: string, password: string): Pop3Step {
  return [withoutLogin(state), [{ kind: "login", user, password }]];
}

function stls(state: Pop3State): Pop3Step {
  if (state.facts.tls) return bad(state, "-ERR TLS is there already");
  if (!state.facts.tlsAvailable) return bad(state, "-ERR No TLS here");
  return [withoutLogin(state), [reply("+OK Begin TLS"), { kind: "startTls" }]];
}

function badBase64(state: Pop3State): Pop3Step {
  return bad(withoutLogin(state), "-ERR Not base64");
}
