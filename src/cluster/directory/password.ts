// Password hashes: argon2id for our own, and the forms of other servers that can be verified with
// what Node.js has. Which hash belongs to whom, queues and caches are the authenticator's.

import { createHash, pbkdf2, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { hash as argonHash, verify as argonVerify } from "@node-rs/argon2";
import { verify as bcryptVerify } from "@node-rs/bcrypt";
import { shaCrypt } from "./sha-crypt.ts";

export interface HashParameters {
  readonly memoryBytes: number;
  readonly passes: number;
}

/** OWASP's first choice for argon2id: 19 MiB, 2 passes, 1 lane. */
export const defaultHashParameters: HashParameters = {
  memoryBytes: 19 * 1024 * 1024,
  passes: 2,
};

const hashBytesMax = 1024;
const argonMemoryMax = 256 * 1024; // KiB
const argonPassesMax = 20;
const argonLanesMax = 16;
/** About a second of CPU. */
const bcryptCostMax = 14;
const pbkdf2RoundsMax = 2_000_000;
const scryptMemoryMax = 128 * 1024 * 1024;

const derivePbkdf2 = promisify(pbkdf2);

/** A fresh argon2id hash with a random salt, as a PHC string. */
export function hashPassword(
  password: string,
  parameters: HashParameters = defaultHashParameters,
): Promise<string> {
  return argonHash(password.normalize("NFC"), {
    // Argon2id and version 0x13 are the library's defaults.
    memoryCost: Math.max(8, Math.floor(parameters.memoryBytes / 1024)),
    timeCost: parameters.passes,
    parallelism: 1,
  });
}

/** Undefined when `verifyPassword` can verify it; otherwise why not, for whoever imports it. */
export function importableHash(text: string): string | undefined {
  if (text.length > hashBytesMax) return `longer than ${hashBytesMax} characters`;
  if (schemeOf(text) !== undefined) return undefined;
  if (/^(\{(BLF-CRYPT|CRYPT)\})?\$2/i.test(text)) {
    return `bcrypt is taken as $2a$, $2b$ or $2y$, whole, with cost 4 to ${bcryptCostMax}`;
  }
  if (
    /^(\{[A-Z0-9-]+\})?\$1\$/.test(text) ||
    /^\{(PLAIN-MD5|MD5|LDAP-MD5|SMD5|MD5-CRYPT|SHA1?|NTLM|LANMAN)\b/i.test(text)
  ) {
    return "this hash is too weak to keep: set a new password";
  }
  if (/^\{(PLAIN|CLEARTEXT|CLEAR)\}/i.test(text)) {
    return "give passwords in clear as `password`, not as a hash";
  }
  return "unknown or unsafe form; known are argon2, {SSHA…}, bcrypt, PBKDF2, scrypt and crypt(3) $5$ and $6$";
}

/** True when `password` is the hash's. A hash that can't be read belongs to no password. */
export async function verifyPassword(hash: string, password: string): Promise<boolean> {
  const verify = schemeOf(hash);
  if (verify === undefined) return false;
  if (await verify(password)) return true;
  // Ours are made from NFC; another server hashed what was typed.
  const composed = password.normalize("NFC");
  return composed !== password && verify(composed);
}

/** True when the hash should be replaced at the next good login. */
export function isOutdated(hash: string, parameters: HashParameters): boolean {
  const found = argonParameters(hash);
  return (
    found?.kind !== "id" ||
    found.memoryKiB < Math.floor(parameters.memoryBytes / 1024) ||
    found.passes < parameters.passes
  );
}

type Verify = (password: string) => Promise<boolean>;

function schemeOf(text: string): Verify | undefined {
  // Dovecot names the scheme in front of what may be any of the forms below.
  const bare = text.replace(
    /^\{(ARGON2ID?|ARGON2I|SHA256-CRYPT|SHA512-CRYPT|BLF-CRYPT|CRYPT)\}/i,
    "",
  );
  if (bare.startsWith("$argon2")) return argon(bare);
  if (bare.startsWith("$2")) return bcrypt(bare);
  if (bare.startsWith("$pbkdf2-")) return passlibPbkdf2(bare);
  if (bare.startsWith("pbkdf2_")) return djangoPbkdf2(bare);
  if (bare.startsWith("$scrypt$")) return passlibScrypt(bare);
  if (/^\$[56]\$/.test(bare)) return shaCrypt(bare);
  return saltedDigest(text);
}

function argonParameters(
  text: string,
): { kind: string; memoryKiB: number; passes: number; lanes: number } | undefined {
  const match =
    /^\$argon2(id|i|d)\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{16,172}$/.exec(
      text,
    );
  if (match === null) return undefined;
  const [, kind = "", memory, passes, lanes] = match;
  return { kind, memoryKiB: Number(memory), passes: Number(passes), lanes: Number(lanes) };
}

function argon(text: string): Verify | undefined {
  const found = argonParameters(text);
  if (found === undefined || found.passes < 1 || found.lanes < 1) return undefined;
  const { memoryKiB, passes, lanes } = found;
  if (memoryKiB < 8 * lanes || memoryKiB > argonMemoryMax) return undefined;
  if (passes > argonPassesMax || lanes > argonLanesMax) return undefined;
  return (password) => argonVerify(text, password);
}

/** `$2b$cost$salt and hash`. Forms with the sign bug ($2x$) are refused. */
function bcrypt(text: string): Verify | undefined {
  const match = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/.exec(text);
  const cost = Number(match?.[1]);
  if (match === null || cost < 4 || cost > bcryptCostMax) return undefined;
  return (password) => bcryptVerify(password, text);
}

/** `$pbkdf2-sha256$rounds$salt$hash` in passlib's base64, which has `.` for `+`. */
function passlibPbkdf2(text: string): Verify | undefined {
  const match =
    /^\$pbkdf2-(sha256|sha512)\$(\d{1,7})\$([A-Za-z0-9./]{8,172})\$([A-Za-z0-9./]{22,172})$/.exec(
      text,
    );
  if (match === null) return undefined;
  const [, digest = "", rounds, salt = "", hash = ""] = match;
  return pbkdf2Verify(digest, Number(rounds), fromPasslib(salt), fromPasslib(hash));
}

/** `pbkdf2_sha256$rounds$salt$hash`: the salt is text. */
function djangoPbkdf2(text: string): Verify | undefined {
  const match =
    /^pbkdf2_(sha256|sha512)\$(\d{1,7})\$([A-Za-z0-9]{8,128})\$([A-Za-z0-9+/]{22,172}={0,2})$/.exec(
      text,
    );
  if (match === null) return undefined;
  const [, digest = "", rounds, salt = "", hash = ""] = match;
  return pbkdf2Verify(digest, Number(rounds), Buffer.from(salt), Buffer.from(hash, "base64"));
}

function pbkdf2Verify(
  digest: string,
  rounds: number,
  salt: Buffer,
  wanted: Buffer,
): Verify | undefined {
  if (rounds < 1000 || rounds > pbkdf2RoundsMax || wanted.length > 64) return undefined;
  return async (password) =>
    timingSafeEqual(await derivePbkdf2(password, salt, rounds, wanted.length, digest), wanted);
}

/** `$scrypt$ln=16,r=8,p=1$salt$hash` */
function passlibScrypt(text: string): Verify | undefined {
  const match =
    /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/.]{8,172})\$([A-Za-z0-9+/.]{22,172})$/.exec(
      text,
    );
  if (match === null) return undefined;
  const [, ln, r, p, salt = "", hash = ""] = match;
  const options = { N: 2 ** Number(ln), r: Number(r), p: Number(p), maxmem: 2 * scryptMemoryMax };
  if (options.N < 2 || options.r < 1 || options.p < 1 || options.p > 16) return undefined;
  if (128 * options.N * options.r > scryptMemoryMax) return undefined;
  const wanted = fromPasslib(hash);
  return async (password) =>
    timingSafeEqual(
      await deriveScrypt(password, fromPasslib(salt), wanted.length, options),
      wanted,
    );
}

function deriveScrypt(
  password: string,
  salt: Buffer,
  length: number,
  options: { readonly N: number; readonly r: number; readonly p: number; readonly maxmem: number },
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, length, options, (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
}

/** `{SSHA}`, `{SSHA256}`, `{SSHA512}`: base64 of the digest of password and salt, then the salt. */
function saltedDigest(text: string): Verify | undefined {
  const match = /^\{(SSHA|SSHA256|SSHA512)(\.b64|\.hex)?\}([A-Za-z0-9+/]{24,}={0,2})$/i.exec(text);
  if (match === null) return undefined;
  const [, scheme = "", form = "", data = ""] = match;
  const digest = { SSHA: "sha1", SSHA256: "sha256", SSHA512: "sha512" }[scheme.toUpperCase()];
  if (digest === undefined) return undefined;
  const bytes = Buffer.from(data, form.toLowerCase() === ".hex" ? "hex" : "base64");
  const length = createHash(digest).digest().length;
  if (bytes.length < length + 4 || bytes.length > length + 64) return undefined;
  const wanted = bytes.subarray(0, length);
  const salt = bytes.subarray(length);
  return (password) =>
    Promise.resolve(
      timingSafeEqual(createHash(digest).update(password).update(salt).digest(), wanted),
    );
}

function fromPasslib(text: string): Buffer {
  return Buffer.from(text.replaceAll(".", "+"), "base64");
}
