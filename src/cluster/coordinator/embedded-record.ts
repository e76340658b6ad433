// The payloads of the embedded coordinator's log: one image of all keys, then transactions.
// Format number first, so that a newer format is refused in words rather than misread.

import { Packr, Unpackr } from "msgpackr";
import { MailError } from "../../mail/errors.ts";
import type { KeySpaceImage, Transaction } from "./key-space.ts";

const format = 1;
const imageKind = 1;
const transactionsKind = 2;

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: "number" });

export type LogRecord =
  | { readonly kind: "image"; readonly image: KeySpaceImage }
  | { readonly kind: "transactions"; readonly transactions: readonly Transaction[] };

export function encodeImage({ revision, forgotten, keys }: KeySpaceImage): Uint8Array {
  return Uint8Array.from(packr.pack([format, imageKind, revision, forgotten, keys]));
}

export function encodeTransactions(transactions: readonly Transaction[]): Uint8Array {
  const packed = transactions.map(({ revision, changes }) => [revision, changes]);
  return Uint8Array.from(packr.pack([format, transactionsKind, packed]));
}

/** @throws {MailError} DAMAGED for what can't be, INVALID for a newer format. `path` is for the words. */
export function decodeLogRecord(path: string, payload: Uint8Array): LogRecord {
  const value: unknown = unpackr.unpack(payload);
  if (!Array.isArray(value)) throw damaged(path);
  const fields: readonly unknown[] = value;
  const [version, kind, first, second, third] = fields;
  if (version !== format) {
    const why = `${path} has format ${String(version)}, this program reads ${format}: use the newer program`;
    throw new MailError({ code: "INVALID", why });
  }
  if (kind === imageKind && isCount(first) && isCount(second) && isKeys(third)) {
    return { kind: "image", image: { revision: first, forgotten: second, keys: third } };
  }
  if (kind === transactionsKind && isTransactions(first)) {
    const transactions = first.map(([revision, changes]) => ({ revision, changes }));
    return { kind: "transactions", transactions };
  }
  throw damaged(path);
}

type PackedKey = readonly [key: string, value: string | null, revision: number];
type PackedChange = readonly [key: string, value: string | null];

function isKeys(value: unknown): value is readonly PackedKey[] {
  return Array.isArray(value) && value.every((row: unknown) => isChange(row, 3) && isCount(row[2]));
}

function isTransactions(
  value: unknown,
): value is readonly (readonly [revision: number, changes: readonly PackedChange[]])[] {
  return Array.isArray(value) && value.every(isTransaction);
}

function isTransaction(row: unknown): boolean {
  if (!Array.isArray(row) || row.length !== 2) return false;
  const fields: readonly unknown[] = row;
  const [revision, changes] = fields;
  return isCount(revision) && Array.isArray(changes) && changes.every((c) => isChange(c, 2));
}

function isChange(row: unknown, length: number): row is readonly unknown[] {
  if (!Array.isArray(row) || row.length !== length) return false;
  const fields: readonly unknown[] = row;
  const [key, value] = fields;
  return typeof key === "string" && (value === null || typeof value === "string");
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function damaged(path: string): MailError {
  return new MailError({ code: "DAMAGED", what: path });
}
