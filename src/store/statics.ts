// Static rows of many messages: one range read where they lie close together (most of a mailbox, in
// order of arrival), single look-ups where they don't.

import { MailError } from "../mail/errors.ts";
import type { AccountState } from "./account-state.ts";
import type { BodyName } from "./bodies.ts";
import type { Engine } from "./engine.ts";
import { staticKey } from "./keyspace.ts";
import { openRow } from "./row.ts";
import { readStatic } from "./static-row.ts";
import type { StaticRow } from "./static-row.ts";

/** Fewer are looked up one by one. */
const rangeFrom = 8;

/** The rows in the order asked. @throws MailError DAMAGED */
export async function readStatics(
  engine: Engine,
  account: AccountState,
  names: readonly BodyName[],
): Promise<StaticRow[]> {
  const keys = names.map(({ tag, lsn }) => staticKey(account.id, tag, lsn));
  const values = keys.length < rangeFrom ? [] : await readRange(engine, keys);
  const missing: number[] = [];
  for (let at = 0; at < keys.length; at++) if (values[at] === undefined) missing.push(at);
  if (missing.length > 0) {
    const wanted = missing.flatMap((at) => keys[at] ?? []);
    const read = await engine.rows.getMany(wanted);
    missing.forEach((at, i) => {
      values[at] = read[i];
    });
  }
  return keys.map((key, at) => {
    const value = values[at];
    if (value === undefined) {
      throw new MailError({ code: "DAMAGED", what: `row ${key.toString("hex")}` });
    }
    return readStatic(openRow(key, value));
  });
}

/** Reads on from the first key while rows are mostly wanted ones; gives up where they are not. */
async function readRange(engine: Engine, keys: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
  const values: (Buffer | undefined)[] = new Array<Buffer | undefined>(keys.length).fill(undefined);
  const first = keys[0];
  const last = keys.at(-1);
  if (first === undefined || last === undefined || Buffer.compare(first, last) >= 0) return values;
  const end = Buffer.concat([last, Buffer.from([0])]);
  let next = 0;
  let unwanted = 0;
  for await (const rows of engine.rows.range(first, end, keys.length)) {
    for (const [key, value] of rows) {
      let order = compareAt(keys, next, key);
      while (order < 0) order = compareAt(keys, ++next, key);
      if (order === 0) values[next++] = value;
      else unwanted++;
    }
    if (unwanted > keys.length) break;
  }
  return values;
}

/** Order of the wanted key at `at` to a key that was read; behind the last one all are greater. */
function compareAt(keys: readonly Buffer[], at: number, key: Buffer): number {
  const wanted = keys[at];
  return wanted === undefined ? 1 : Buffer.compare(wanted, key);
}
