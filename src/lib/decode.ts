// Small checks that turn `unknown` (from a socket, a disk, a config file) into types, or throw
// DecodeError with the name of what was wrong. Past these nobody checks again.

/** Foreign input that is not what it should be. Never our own bug. */
export class DecodeError extends Error {
  override readonly name = "DecodeError";
}

/** A plain object; not an array, not bytes. */
export function asRecord(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) throw wrong(what, "an object");
  if (Array.isArray(value) || ArrayBuffer.isView(value)) throw wrong(what, "an object");
  return value as Readonly<Record<string, unknown>>;
}

export function asArray(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw wrong(what, "an array");
  return value;
}

export function asString(value: unknown, what: string): string {
  if (typeof value !== "string") throw wrong(what, "a string");
  return value;
}

export function asBoolean(value: unknown, what: string): boolean {
  if (typeof value !== "boolean") throw wrong(what, "true or false");
  return value;
}

/** A safe integer that is not negative. */
export function asNumber(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw wrong(what, "a whole number");
  }
  return value;
}

/** A finite number of any sign, with fraction. */
export function asFinite(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw wrong(what, "a number");
  return value;
}

export function asBytes(value: unknown, what: string): Uint8Array {
  if (!(value instanceof Uint8Array)) throw wrong(what, "bytes");
  return value;
}

/** `undefined` and `null` stay absent; anything else goes through `decode`. */
export function asOptional<T>(
  value: unknown,
  what: string,
  decode: (value: unknown, what: string) => T,
): T | undefined {
  return value === undefined || value === null ? undefined : decode(value, what);
}

/** One of the given words. */
export function asOneOf<T extends string>(value: unknown, what: string, words: readonly T[]): T {
  const found = words.find((word) => word === value);
  if (found === undefined) throw wrong(what, `one of ${words.join(", ")}`);
  return found;
}

function wrong(what: string, wanted: string): DecodeError {
  return new DecodeError(`${what} should be ${wanted}`);
}
