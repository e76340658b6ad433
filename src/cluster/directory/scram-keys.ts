// What a server keeps for SCRAM-SHA-256: salt, iterations and two keys from which the password can't
// be had. RFC 5802 §3, RFC 7677, kept in the form of RFC 5803. The exchange itself is gateway/sasl.

import { createHash, createHmac, pbkdf2, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { saslprep } from "@mongodb-js/saslprep";
import { scramPrefix } from "./verifiers.ts";

export interface ScramKeys {
  readonly salt: Buffer;
  readonly iterations: number;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

const saltBytes = 16;
const keyBytes = 32;
const iterationsMax = 2_000_000;
const form =
  /^SCRAM-SHA-256\$(\d{4,7}):([A-Za-z0-9+/]{16,128}={0,2})\$([A-Za-z0-9+/]{43}=):([A-Za-z0-9+/]{43}=)$/;

const derive = promisify(pbkdf2);

/** Undefined for a password that SASLprep refuses (control characters): it logs in by PLAIN only. */
export async function makeScram(password: string, iterations: number): Promise<string | undefined> {
  const prepared = prepare(password);
  if (prepared === undefined) return undefined;
  const salt = randomBytes(saltBytes);
  const salted = await derive(prepared, salt, iterations, keyBytes, "sha256");
  const stored = createHash("sha256").update(hmac(salted, "Client Key")).digest();
  const parts = [stored, hmac(salted, "Server Key")].map((key) => key.toString("base64"));
  return `${scramPrefix}${iterations}:${salt.toString("base64")}$${parts.join(":")}`;
}

/** Undefined when it is not of this form. */
export function parseScram(text: string): ScramKeys | undefined {
  const match = form.exec(text);
  if (match === null) return undefined;
  const [, iterations, salt = "", stored = "", server = ""] = match;
  if (Number(iterations) > iterationsMax) return undefined;
  return {
    salt: Buffer.from(salt, "base64"),
    iterations: Number(iterations),
    storedKey: Buffer.from(stored, "base64"),
    serverKey: Buffer.from(server, "base64"),
  };
}

/** Keys of nobody's password: the same salt for the same name each time, so that a name tells nothing. RFC 5802 §5.1 */
export function madeUpKeys(secret: Uint8Array, name: string, iterations: number): ScramKeys {
  return {
    salt: hmac(secret, `salt ${name}`).subarray(0, saltBytes),
    iterations,
    storedKey: randomBytes(keyBytes),
    serverKey: randomBytes(keyBytes),
  };
}

/** RFC 4013; unassigned code points are let through, as in a query string. */
function prepare(password: string): string | undefined {
  try {
    return saslprep(password, { allowUnassigned: true });
  } catch {
    return undefined;
  }
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
