// SEARCH programs on the wire: each key an array that begins with its kind's number.

import type { SearchKey } from "../../mail/search-key.ts";
import { decodeUidSet, encodeUidSet } from "./codec-values.ts";
import { asArray, asBoolean, asCount, asInteger, asListOf, asText, malformed } from "./decode.ts";
import { unreachable } from "../../lib/assert.ts";

const kinds: readonly SearchKey["kind"][] = [
  "all",
  "and",
  "or",
  "not",
  "uid",
  "flag",
  "header",
  "body",
  "text",
  "date",
  "size",
  "age",
  "modseq",
  "emailId",
  "threadId",
];
const dateOf = ["internal", "sent", "saved"] as const;
const dateOp = ["before", "on", "since"] as const;
const sizeOp = ["larger", "smaller"] as const;
const ageOp = ["younger", "older"] as const;
/** Deeper programs are refused by the gateway's parser long before. */
const depthMax = 200;

export function encodeSearchKey(key: SearchKey): readonly unknown[] {
  const code = kinds.indexOf(key.kind);
  switch (key.kind) {
    case "all":
      return [code];
    case "and":
      return [code, key.keys.map(encodeSearchKey)];
    case "or":
      return [code, encodeSearchKey(key.a), encodeSearchKey(key.b)];
    case "not":
      return [code, encodeSearchKey(key.key)];
    case "uid":
      return [code, encodeUidSet(key.set)];
    case "flag":
      return [code, key.flag, key.set];
    case "header":
      return [code, key.name, key.text];
    case "body":
    case "text":
      return [code, key.text];
    case "date":
      return [code, dateOf.indexOf(key.of), dateOp.indexOf(key.op), key.day];
    case "size":
      return [code, sizeOp.indexOf(key.op), key.bytes];
    case "age":
      return [code, ageOp.indexOf(key.op), key.seconds, key.nowMs];
    case "modseq":
      return [code, key.least];
    case "emailId":
    case "threadId":
      return [code, key.id];
    default:
      return unreachable(key);
  }
}

/** @throws {MailError} INVALID */
export function decodeSearchKey(value: unknown, depth = 0): SearchKey {
  if (depth > depthMax) throw malformed("search key");
  const args = asArray(value, "search key");
  const nested = (key: unknown): SearchKey => decodeSearchKey(key, depth + 1);
  const kind = kinds[asCount(args[0], "search key")];
  switch (kind) {
    case "all":
      return { kind };
    case "and":
      return { kind, keys: asListOf(args[1], "search keys", nested) };
    case "or":
      return { kind, a: nested(args[1]), b: nested(args[2]) };
    case "not":
      return { kind, key: nested(args[1]) };
    case "uid":
      return { kind, set: decodeUidSet(args[1]) };
    case "flag":
      return { kind, flag: asText(args[1], "flag"), set: asBoolean(args[2], "flag") };
    case "header":
      return { kind, name: asText(args[1], "field"), text: asText(args[2], "text") };
    case "body":
    case "text":
      return { kind, text: asText(args[1], "text") };
    case "date": {
      const of = wordAt(dateOf, args[1]);
      return { kind, of, op: wordAt(dateOp, args[2]), day: asInteger(args[3], "day") };
    }
    case "size":
      return { kind, op: wordAt(sizeOp, args[1]), bytes: asCount(args[2], "bytes") };
    case "age": {
      const op = wordAt(ageOp, args[1]);
      return { kind, op, seconds: asCount(args[2], "seconds"), nowMs: asCount(args[3], "time") };
    }
    case "modseq":
      return { kind, least: asCount(args[1], "modseq") };
    case "emailId":
    case "threadId":
      return { kind, id: asText(args[1], "object id") };
    case undefined:
      throw malformed("search key");
    default:
      return unreachable(kind);
  }
}

function wordAt<T extends string>(words: readonly T[], value: unknown): T {
  const word = words[asCount(value, "search key")];
  if (word === undefined) throw malformed("search key");
  return word;
}
