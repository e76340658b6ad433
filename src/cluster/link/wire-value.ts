// Values in frame heads: msgpack with fixed shapes, and the world's failures as data.
// What a head means is its reader's business; everything here is checked before it is believed.

import { Packr, Unpackr } from "msgpackr";
import { MailError } from "../../mail/errors.ts";
import type { MailErrorCode, MailFailure } from "../../mail/errors.ts";
import { FrameError } from "./frame.ts";

// Each has its own options object: msgpackr keeps state in it. No records, no shared structures.
const packr = new Packr({ useRecords: false, mapsAsObjects: true });
const unpackr = new Unpackr({
  useRecords: false,
  mapsAsObjects: true,
  int64AsType: "number",
  structuredClone: false,
});

/** The value as msgpack. The bytes are the caller's to keep. */
export function packValue(value: unknown): Uint8Array {
  return packr.pack(value);
}

/** @throws {FrameError} unless the bytes are exactly one value. */
export function unpackValue(bytes: Uint8Array): unknown {
  try {
    const value: unknown = unpackr.unpack(bytes);
    return value;
  } catch (cause) {
    throw new FrameError("head is not msgpack", { cause });
  }
}

/** @throws {FrameError} unless the bytes are a msgpack array. */
export function unpackArray(bytes: Uint8Array): readonly unknown[] {
  const value = unpackValue(bytes);
  if (!Array.isArray(value)) throw new FrameError("head is not an array");
  return value;
}

/** The failure in an ERROR head; one that this version doesn't know becomes UNAVAILABLE. */
export function decodeFailure(value: unknown): MailFailure {
  if (typeof value !== "object" || value === null) throw new FrameError("error is not a map");
  const given = new Map<string, unknown>(Object.entries(value));
  const code = given.get("code");
  if (typeof code !== "string") throw new FrameError("error without a code");
  const facts = factsOf.get(code);
  if (facts === undefined)
    return { code: "UNAVAILABLE", why: `unknown error ${code.slice(0, 64)}` };
  const failure: Record<string, unknown> = { code };
  for (const [name, check] of Object.entries(facts)) {
    const fact = given.get(name);
    if (!check(fact)) throw new FrameError(`error ${code} with a bad ${name}`);
    if (fact !== undefined && fact !== null) failure[name] = fact;
  }
  return failure as MailFailure;
}

/** The failure as an ERROR head carries it, or undefined when `error` is not of the world. */
export function failureOf(error: unknown): MailFailure | undefined {
  return error instanceof MailError ? error.failure : undefined;
}

type FactCheck = (fact: unknown) => boolean;

const text: FactCheck = (fact) => typeof fact === "string";
const number: FactCheck = (fact) => typeof fact === "number";
const textOrNumber: FactCheck = (fact) => text(fact) || number(fact);
const maybeText: FactCheck = (fact) => fact === undefined || fact === null || text(fact);
const maybeNumber: FactCheck = (fact) => fact === undefined || fact === null || number(fact);

const factTable: Record<MailErrorCode, Readonly<Record<string, FactCheck>>> = {
  NO_SUCH_ACCOUNT: {},
  ACCOUNT_DISABLED: {},
  STALE_CREDENTIALS: {},
  NAME_TAKEN: { name: text },
  NO_SUCH_MAILBOX: { mailbox: textOrNumber },
  MAILBOX_EXISTS: { mailbox: text },
  MAILBOX_HAS_CHILDREN: { mailbox: text },
  BAD_MAILBOX_NAME: { mailbox: text, why: text },
  MAILBOX_GONE: { mailbox: number, why: maybeText },
  OVER_QUOTA: { limitBytes: maybeNumber, limitMessages: maybeNumber },
  LIMIT: { limit: text, most: number },
  NO_PERMISSION: { why: text },
  IN_USE: {},
  WRONG_NODE: { shard: number, epoch: maybeNumber },
  REPLICA_UNREACHABLE: { shard: maybeNumber },
  UNAVAILABLE: { why: text },
  DISK_FULL: {},
  BAD_CHARSET: { charset: text },
  UNKNOWN_ENCODING: {},
  DAMAGED: { what: text },
  BUSY: { what: text },
  CONFLICT: { why: text },
  INVALID: { why: text },
};

const factsOf: ReadonlyMap<string, Readonly<Record<string, FactCheck>>> = new Map(
  Object.entries(factTable),
);
