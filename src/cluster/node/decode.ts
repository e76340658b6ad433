// Reading values that came over a link: each function returns the value with its type, or says that
// the peer broke the form. Used by the codecs of this folder; past them nobody checks again.

import { MailError } from "../../mail/errors.ts";

/** The peer sent what it should not: answered INVALID, never an assertion. */
export function malformed(what: string): MailError {
  return new MailError({ code: "INVALID", why: `malformed ${what}` });
}

/** An array, as every head of ours is. */
export function asArray(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw malformed(what);
  return value;
}

/** A safe integer 0..max. */
export function asCount(value: unknown, what: string, max = Number.MAX_SAFE_INTEGER): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= max) {
    return value;
  }
  throw malformed(what);
}

/** A safe integer of either sign. */
export function asInteger(value: unknown, what: string): number {
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  throw malformed(what);
}

export function asText(value: unknown, what: string, lengthMax = 65_536): string {
  if (typeof value === "string" && value.length <= lengthMax) return value;
  throw malformed(what);
}

export function asBoolean(value: unknown, what: string): boolean {
  if (typeof value === "boolean") return value;
  throw malformed(what);
}

export function asBytes(value: unknown, what: string): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw malformed(what);
}

/** Undefined for null and undefined: optional fields travel as null. */
export function asOptional<T>(
  value: unknown,
  what: string,
  read: (value: unknown, what: string) => T,
): T | undefined {
  return value === null || value === undefined ? undefined : read(value, what);
}

export function asListOf<T>(
  value: unknown,
  what: string,
  read: (value: unknown, what: string) => T,
): readonly T[] {
  return asArray(value, what).map((item) => read(item, what));
}

/** 32 hex digits: operation ids and store ids. */
export function asHex32(value: unknown, what: string): string {
  if (typeof value === "string" && /^[0-9a-f]{32}$/.test(value)) return value;
  throw malformed(what);
}
