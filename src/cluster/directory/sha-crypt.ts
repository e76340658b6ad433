// crypt(3) with SHA-256 ($5$) and SHA-512 ($6$), as most Unix and mail servers have kept passwords;
// only to verify what is imported. Follows Drepper's "Unix crypt using SHA-256 and SHA-512", 0.6.

import { createHash, timingSafeEqual } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";

/** 5000 is what everyone uses; far more would hold up the process. */
const roundsMax = 100_000;
const defaultRounds = 5000;
const passwordBytesMax = 256;
const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** Rounds between two turns of the event loop, about a millisecond. */
const roundsPerTurn = 500;

interface Scheme {
  readonly digest: "sha256" | "sha512";
  /** Which bytes of the digest make each group of four characters; then the rest. */
  readonly groups: readonly (readonly number[])[];
}

const sha512: Scheme = {
  digest: "sha512",
  groups: [...Array.from({ length: 21 }, (_, i) => turned([i, i + 21, i + 42], i % 3)), [63]],
};
const sha256: Scheme = {
  digest: "sha256",
  groups: [
    ...Array.from({ length: 10 }, (_, i) => turned([i, i + 10, i + 20], (2 * i) % 3)),
    [31, 30],
  ],
};

/** A verifier for `$5$…` or `$6$…`; undefined when the text is none or asks for too much work. */
export function shaCrypt(text: string): ((password: string) => Promise<boolean>) | undefined {
  const match =
    /^\$([56])\$(?:rounds=(\d{1,9})\$)?([^$:\n]{0,16})\$([./0-9A-Za-z]{43}|[./0-9A-Za-z]{86})$/.exec(
      text,
    );
  if (match === null) return undefined;
  const [, kind, given, salt = "", wanted = ""] = match;
  const scheme = kind === "5" ? sha256 : sha512;
  const rounds = given === undefined ? defaultRounds : Math.max(1000, Number(given));
  if (rounds > roundsMax || wanted.length !== (kind === "5" ? 43 : 86)) return undefined;
  return async (password) => {
    const bytes = Buffer.from(password);
    if (bytes.length > passwordBytesMax) return false;
    const made = await derive(scheme, bytes, Buffer.from(salt), rounds);
    return timingSafeEqual(Buffer.from(made), Buffer.from(wanted));
  };
}

async function derive(
  { digest, groups }: Scheme,
  password: Buffer,
  salt: Buffer,
  rounds: number,
): Promise<string> {
  const sum = (...parts: readonly Buffer[]): Buffer =>
    createHash(digest).update(Buffer.concat(parts)).digest();
  const alternate = sum(password, salt, password);
  const first: Buffer[] = [password, salt, repeated(alternate, password.length)];
  for (let bits = password.length; bits > 0; bits >>= 1) {
    first.push((bits & 1) === 1 ? alternate : password);
  }
  let result = sum(...first);
  const p = repeated(
    sum(...Array.from({ length: password.length }, () => password)),
    password.length,
  );
  const s = repeated(
    sum(...Array.from({ length: 16 + (result[0] ?? 0) }, () => salt)),
    salt.length,
  );
  for (let round = 0; round < rounds; round++) {
    const parts: Buffer[] = [round % 2 === 1 ? p : result];
    if (round % 3 !== 0) parts.push(s);
    if (round % 7 !== 0) parts.push(p);
    parts.push(round % 2 === 1 ? result : p);
    result = sum(...parts);
    if (round % roundsPerTurn === roundsPerTurn - 1) await nextTurn();
  }
  return groups.map((group) => characters(group, result)).join("");
}

/** `source` over and over, cut to `length`. */
function repeated(source: Buffer, length: number): Buffer {
  return Buffer.alloc(length, source.length === 0 ? 0 : source);
}

/** The bytes as a number, first one highest, six bits a character, lowest first. */
function characters(group: readonly number[], bytes: Buffer): string {
  let value = 0;
  for (const index of group) value = value * 256 + (bytes[index] ?? 0);
  let text = "";
  for (let left = Math.ceil((group.length * 8) / 6); left > 0; left--) {
    text += alphabet[value % 64] ?? "";
    value = Math.floor(value / 64);
  }
  return text;
}

/** The list with its first `places` entries moved to the end. */
function turned(list: readonly number[], places: number): readonly number[] {
  return [...list.slice(places), ...list.slice(0, places)];
}
