// Static rows of many messages: one range read where they lie close together (most of a mailbox, in
// order of arrival), single look-ups where they don't.

import { MailError } from "../mail/errors.ts";
import type { AccountState } from "./account-state.ts";
import type { BodyName } from "./bodies.ts";
import type { Engine } from "./engine.ts";
import { staticKey } from "./keyspace.ts";
import { openRow, payloadOf, rowIsSound } from "./row.ts";
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
  const rows = keys.length < rangeFrom ? [] : await readRange(engine, keys);
  const missing: number[] = [];
  for (let at = 0; at < keys.length; at++) if (rows[at] === undefined) missing.push(at);
  if (missing.length > 0) {
    const read = await engine.rows.getMany(missing.flatMap((at) => keys[at] ?? []));
    missing.forEach((at, i) => {
      const key = keys[at];
      const value = read[i];
      if (key !== undefined && value !== undefined) rows[at] = readStatic(openRow(key, value));
    });
  }
  return keys.map((key, at) => {
    const row = rows[at];
    if (row === undefined) {
      throw new MailError({ code: "DAMAGED", what: `row ${key.toString("hex")}` });
    }
    return row;
  });
}

/**
 * Reads on from the first key while rows are mostly wanted ones; gives up where they are not. A row
 * belongs to the key with which its checksum is right; what is not found so is looked up by its key.
 */
async function readRange(
  engine: Engine,
  keys: readonly Buffer[],
): Promise<(StaticRow | undefined)[]> {
  const found = new Array<StaticRow | undefined>(keys.length).fill(undefined);
  const first = keys[0];
  const last = keys.at(-1);
  if (first === undefined || last === undefined || Buffer.compare(first, last) >= 0) return found;
  const end = Buffer.concat([last, Buffer.from([0])]);
  let next = 0;
  let unwanted = 0;
  for await (const values of engine.rows.values(first, end, keys.length)) {
    for (const value of values) {
      const key = keys[next];
      if (key !== undefined && rowIsSound(key, value)) {
        found[next++] = readStatic(payloadOf(value));
      } else unwanted++;
    }
    if (unwanted > keys.length || next >= keys.length) break;
  }
  return found;
}
