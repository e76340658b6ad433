// PLAIN (RFC 4616) and LOGIN (draft-murchison-sasl-login), which give the password itself.

import type { SaslExchange, SaslFacts, SaslStep } from "./exchange.ts";
import { textOf } from "./text.ts";

export function plain(facts: SaslFacts): SaslExchange {
  return {
    async respond(response) {
      // RFC 4616 §2: authzid NUL authcid NUL password
      const [authzid, login, password, ...rest] = textOf(response)?.split("\0") ?? [];
      if (authzid === undefined || login === undefined || password === undefined) {
        return malformed;
      }
      if (rest.length > 0 || login === "") return malformed;
      if (authzid !== "" && authzid !== login) return { kind: "forbidden", login };
      return verify(facts, login, password);
    },
  };
}

const malformed: SaslStep = { kind: "malformed", why: "The response is not that of PLAIN" };

export function loginMechanism(facts: SaslFacts): SaslExchange {
  let login: string | undefined;
  return {
    async respond(response) {
      const text = textOf(response);
      if (text === undefined || text.includes("\0") || (login === undefined && text === "")) {
        return { kind: "malformed", why: "That is no name or password" };
      }
      if (login !== undefined) return verify(facts, login, text);
      login = text;
      return { kind: "challenge", bytes: Buffer.from("Password:") };
    },
  };
}

async function verify(facts: SaslFacts, login: string, password: string): Promise<SaslStep> {
  const { auth, address, signal } = facts;
  return { kind: "verdict", verdict: await auth.verify(login, password, address, signal), login };
}
