// OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's and Microsoft's): a bearer token of the identity
// provider in place of a password.

import type { SaslExchange, SaslFacts, SaslStep } from "./exchange.ts";
import { textOf } from "./text.ts";

interface Bearer {
  readonly login?: string;
  readonly token: string;
}

export function oauthBearer(facts: SaslFacts): SaslExchange {
  // RFC 7628 §3.2.2: the client answers the failure with a %x01.
  return bearer(facts, parseOauthBearer, (answer) => answer.length === 1 && answer[0] === 1);
}

export function xoauth2(facts: SaslFacts): SaslExchange {
  return bearer(facts, parseXoauth2, (answer) => answer.length === 0);
}

function bearer(
  { auth, address, signal }: SaslFacts,
  parse: (text: string) => Bearer | undefined,
  isSeen: (answer: Uint8Array) => boolean,
): SaslExchange {
  let failed: SaslStep | undefined;
  return {
    async respond(response) {
      if (failed !== undefined) return isSeen(response) ? failed : malformed;
      const text = textOf(response);
      const given = text === undefined ? undefined : parse(text);
      if (given === undefined) return malformed;
      const verdict = await auth.verifyToken(given.login, given.token, address, signal);
      const step: SaslStep = { kind: "verdict", verdict, login: given.login ?? "" };
      if (verdict.kind !== "refused") return step;
      failed = step;
      return { kind: "challenge", bytes: Buffer.from(failure) };
    },
  };
}

const malformed: SaslStep = {
  kind: "malformed",
  why: "The response is not that of a bearer token",
};
/** RFC 7628 §3.2.2. */
const failure = JSON.stringify({ status: "invalid_token", schemes: "bearer" });

/** RFC 7628 §3.1: GS2 header, then fields `key=value` between %x01. */
function parseOauthBearer(text: string): Bearer | undefined {
  const match =
    /^[ny],(?:a=([^,\0\u0001]+))?,\u0001((?:[A-Za-z]+=[^\0\u0001]*\u0001)*)\u0001$/u.exec(text);
  if (match === null) return undefined;
  const [, authzid, fields = ""] = match;
  const token = tokenOf(fields.split("\u0001"));
  if (token === undefined) return undefined;
  if (authzid === undefined) return { token };
  if (/=(?!2C|3D)/.test(authzid)) return undefined;
  return { token, login: authzid.replaceAll("=2C", ",").replaceAll("=3D", "=") };
}

function parseXoauth2(text: string): Bearer | undefined {
  const match = /^user=([^\0\u0001]+)\u0001(auth=[^\0\u0001]*)\u0001\u0001$/u.exec(text);
  if (match === null) return undefined;
  const [, login = "", field = ""] = match;
  const token = tokenOf([field]);
  return token === undefined ? undefined : { login, token };
}

/** RFC 6750 §2.1, RFC 9110 §11.1: the scheme in any case. */
function tokenOf(fields: readonly string[]): string | undefined {
  const field = fields.find((each) => each.startsWith("auth="));
  return /^auth=bearer +(\S+)$/i.exec(field ?? "")?.[1];
}
