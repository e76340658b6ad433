// The commands before login: USER and PASS, AUTH with its exchanges, STLS, UTF8, QUIT. Decides who
// may try; whether a password is right is the authenticator's business.

import { bad, end, reply, withoutLogin } from "./state.ts";
import type { Pop3Command, Pop3Facts, Pop3State, Pop3Step, SaslExchange } from "./state.ts";

export const mechanisms = ["PLAIN", "LOGIN"] as const;

const needsTls = "-ERR Passwords are not accepted in the clear, use STLS first";

export function maySendPassword(facts: Pop3Facts): boolean {
  return facts.tls || facts.plaintextLogin;
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
export function continueSasl(state: Pop3State, sasl: SaslExchange, line: string): Pop3Step {
  if (line === "*") return bad(withoutLogin(state), "-ERR Authentication cancelled");
  const response = decodeBase64(line);
  return response === undefined ? badBase64(state) : saslResponse(state, sasl, response);
}

function auth(state: Pop3State, words: readonly string[]): Pop3Step | undefined {
  const [name, initial, ...more] = words;
  if (more.length > 0) return undefined;
  if (!maySendPassword(state.facts)) return bad(state, needsTls);
  if (name === undefined) {
    return [state, [{ kind: "lines", first: "+OK Mechanisms follow", lines: mechanisms }]];
  }
  const mechanism = mechanisms.find((each) => each === name.toUpperCase());
  if (mechanism === undefined) return bad(state, "-ERR No such mechanism");
  const clean = withoutLogin(state);
  const sasl: SaslExchange = { mechanism };
  if (initial === undefined) {
    const challenge = mechanism === "PLAIN" ? "+ " : `+ ${base64("Username:")}`;
    return [{ ...clean, sasl }, [reply(challenge)]];
  }
  // RFC 5034 §4: `=` is an empty initial response.
  const response = initial === "=" ? "" : decodeBase64(initial);
  return response === undefined ? badBase64(clean) : saslResponse(clean, sasl, response);
}

function saslResponse(state: Pop3State, sasl: SaslExchange, response: string): Pop3Step {
  const clean = withoutLogin(state);
  if (sasl.mechanism === "PLAIN") {
    // RFC 4616 §2: authzid NUL authcid NUL password. Acting for others is not offered.
    const [authzid, authcid, password, ...more] = response.split("\0");
    if (authcid === undefined || password === undefined || more.length > 0) {
      return bad(clean, "-ERR Not a PLAIN response");
    }
    if (authzid !== "" && authzid !== authcid) {
      return bad(clean, "-ERR [AUTH] Acting for another user is not offered");
    }
    return login(clean, authcid, password);
  }
  if (response.includes("\0")) return bad(clean, "-ERR NUL in a name or password");
  if (sasl.user !== undefined) return login(clean, sasl.user, response);
  const next: SaslExchange = { mechanism: "LOGIN", user: response };
  return [{ ...clean, sasl: next }, [reply(`+ ${base64("Password:")}`)]];
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

/** RFC 4648 §4, strictly: no white space, padded, nothing left over. Undefined also for non-UTF-8. */
function decodeBase64(text: string): string | undefined {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) return undefined;
  const decoded = bytes.toString("utf8");
  return Buffer.from(decoded).equals(bytes) ? decoded : undefined;
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}
