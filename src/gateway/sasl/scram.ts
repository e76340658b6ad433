// SCRAM-SHA-256 and -PLUS at the server: neither side gives the password away, and each proves that it
// knows it. RFC 5802 §5, RFC 7677. Keys and guess limits are the authenticator's.

import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { ScramLogin } from "../../cluster/directory/directory.ts";
import type { SaslExchange, SaslFacts, SaslStep } from "./exchange.ts";
import { parseClientFinal, parseClientFirst } from "./scram-messages.ts";
import type { ClientFinal, ClientFirst } from "./scram-messages.ts";
import { textOf } from "./text.ts";

type Keys = Extract<ScramLogin, { kind: "keys" }>;

/** A response that went as far as a proof. */
interface Begun {
  readonly first: ClientFirst;
  readonly serverFirst: string;
  readonly nonce: string;
  readonly login: Keys;
}

type Verdict = Extract<SaslStep, { kind: "verdict" }>;

/** @param plus the mechanism's name ends in -PLUS */
export function scram(
  facts: SaslFacts,
  plus: boolean,
  nonce = (): string => randomBytes(18).toString("base64"),
): SaslExchange {
  let begun: Begun | undefined;
  let proven: Verdict | undefined;
  return {
    async respond(response) {
      // RFC 5802 §5: behind the server's proof the client has nothing more to say.
      if (proven !== undefined) return response.byteLength === 0 ? proven : malformed;
      const text = textOf(response);
      if (text === undefined) return malformed;
      if (begun === undefined) {
        const step = await begin(facts, plus, text, nonce());
        if ("kind" in step) return step;
        begun = step;
        return { kind: "challenge", bytes: Buffer.from(begun.serverFirst) };
      }
      const final = parseClientFinal(text);
      if (final === undefined) return malformed;
      const { login, first } = begun;
      const proof = isRight(facts, begun, final);
      const verdict = login.settle(proof.right);
      const step: Verdict = { kind: "verdict", verdict, login: first.login };
      if (verdict.kind !== "ok") return step;
      proven = step;
      return { kind: "challenge", bytes: Buffer.from(`v=${proof.serverSignature}`) };
    },
  };
}

const malformed: SaslStep = { kind: "malformed", why: "The response is not that of SCRAM" };

async function begin(
  facts: SaslFacts,
  plus: boolean,
  text: string,
  ours: string,
): Promise<Begun | SaslStep> {
  const first = parseClientFirst(text);
  if (first === undefined) return malformed;
  const { binding, login } = first;
  if (binding.kind === "bound" ? !plus || facts.binding(binding.type) === undefined : plus) {
    return { kind: "malformed", why: "This channel binding is not supported" };
  }
  // RFC 5802 §6: somebody took -PLUS off the list that the client saw.
  if (binding.kind === "notOffered" && facts.bindingOffered) {
    return { kind: "verdict", verdict: { kind: "refused" }, login };
  }
  if (first.authzid !== "" && first.authzid !== login) return { kind: "forbidden", login };
  const keys = await facts.auth.scram(login, facts.address, facts.signal);
  if (keys.kind === "unavailable") return { kind: "verdict", verdict: keys, login };
  const { salt, iterations } = keys.keys;
  const nonce = first.nonce + ours;
  const serverFirst = `r=${nonce},s=${salt.toString("base64")},i=${iterations}`;
  return { first, serverFirst, nonce, login: keys };
}

/** RFC 5802 §3: ClientProof and ServerSignature. */
function isRight(
  facts: SaslFacts,
  { first, serverFirst, nonce, login }: Begun,
  final: ClientFinal,
): { readonly right: boolean; readonly serverSignature: string } {
  const { storedKey, serverKey } = login.keys;
  const message = `${first.bare},${serverFirst},${final.withoutProof}`;
  const clientSignature = hmac(storedKey, message);
  const proof = final.proof.byteLength === clientSignature.byteLength ? final.proof : undefined;
  const clientKey = clientSignature.map((byte, at) => byte ^ (proof?.[at] ?? 0));
  const isKey = timingSafeEqual(createHash("sha256").update(clientKey).digest(), storedKey);
  const { binding } = first;
  const bound = binding.kind === "bound" ? facts.binding(binding.type) : Buffer.alloc(0);
  const expected = Buffer.concat([Buffer.from(first.header), bound ?? Buffer.alloc(0)]);
  const isBound = bound !== undefined && final.binding.equals(expected);
  return {
    right: proof !== undefined && isKey && isBound && final.nonce === nonce,
    serverSignature: hmac(serverKey, message).toString("base64"),
  };
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
