// App passwords: made by us, long and random, one for each program of a user, and taken back one by
// one. As nobody can guess 100 random bits, one SHA-256 is hash enough.

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { appPrefix } from "./verifiers.ts";

export interface AppPassword {
  /** Given by whoever made it: letters, digits, `.`, `_`, `-`. */
  readonly label: string;
  readonly createdMs: number;
}

export const appPasswordsMax = 20;
const labelForm = /^[A-Za-z0-9._-]{1,32}$/;
const form =
  /^\{APP\}([A-Za-z0-9._-]{1,32})\$(\d{1,15})\$([A-Za-z0-9+/]{22}==)\$([A-Za-z0-9+/]{43}=)$/;
// Without those that look alike.
const letters = "abcdefghijkmnpqrstuvwxyz23456789";
const groups = 5;
const groupLetters = 4;

export function isAppLabel(text: string): boolean {
  return labelForm.test(text);
}

/** A new password, `xxxx-xxxx-xxxx-xxxx-xxxx` with 100 random bits, and its verifier. */
export function makeAppPassword(
  label: string,
  nowMs: number,
): { readonly password: string; readonly verifier: string } {
  const drawn = [...randomBytes(groups * groupLetters)].map(
    (byte) => letters[byte % letters.length],
  );
  const password = Array.from({ length: groups }, (_, at) =>
    drawn.slice(at * groupLetters, (at + 1) * groupLetters).join(""),
  ).join("-");
  const salt = randomBytes(16);
  const parts = [label, String(nowMs), salt.toString("base64"), digest(salt, password)];
  return { password, verifier: `${appPrefix}${parts.join("$")}` };
}

export function appPasswordOf(verifier: string): AppPassword | undefined {
  const match = form.exec(verifier);
  if (match === null) return undefined;
  return { label: match[1] ?? "", createdMs: Number(match[2]) };
}

/** True when `password` is the one of a verifier. Blanks and case of what was typed don't matter. */
export function matchesApp(verifiers: readonly string[], password: string): boolean {
  const typed = password.replaceAll(" ", "").toLowerCase();
  if (typed.length !== groups * (groupLetters + 1) - 1) return false;
  return verifiers.some((verifier) => {
    const match = form.exec(verifier);
    if (match === null) return false;
    const given = digest(Buffer.from(match[3] ?? "", "base64"), typed);
    return timingSafeEqual(Buffer.from(given), Buffer.from(match[4] ?? ""));
  });
}

function digest(salt: Uint8Array, password: string): string {
  return createHash("sha256").update(salt).update(password).digest("base64");
}
