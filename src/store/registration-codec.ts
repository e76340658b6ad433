// Bytes of a registration record, as entries and rows hold it.

import { assert } from "../lib/assert.ts";
import type { AccountState, Registration } from "../mail/account.ts";
import { accountId } from "../mail/ids.ts";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";

const states: readonly AccountState[] = ["active", "disabled", "deleted"];

export function writeRegistration(out: ByteWriter, registration: Registration): void {
  out.varint(registration.account);
  out.text(registration.name);
  out.varint(registration.aliases.length);
  for (const alias of registration.aliases) out.text(alias);
  out.u8(states.indexOf(registration.state));
  out.text(registration.credentials.hash);
  out.varint(registration.credVersion);
  out.varint(registration.userVersion);
  out.varint(registration.quotaBytes);
  out.varint(registration.quotaMessages);
  const profile = Object.entries(registration.profile);
  out.varint(profile.length);
  for (const [key, value] of profile) {
    out.text(key);
    out.text(value);
  }
  out.f64(registration.createdMs);
}

export function readRegistration(reader: ByteReader): Registration {
  const account = accountId(reader.varint());
  const name = reader.text();
  const aliases: string[] = [];
  for (let left = reader.varint(); left > 0; left--) aliases.push(reader.text());
  const state = states[reader.u8()];
  assert(state !== undefined, "a registration has a known state");
  const credentials = { hash: reader.text() };
  const credVersion = reader.varint();
  const userVersion = reader.varint();
  const quotaBytes = reader.varint();
  const quotaMessages = reader.varint();
  const profile: [string, string][] = [];
  for (let left = reader.varint(); left > 0; left--) profile.push([reader.text(), reader.text()]);
  return {
    account,
    name,
    aliases,
    state,
    credentials,
    credVersion,
    userVersion,
    quotaBytes,
    quotaMessages,
    // fromEntries defines own properties: a key `__proto__` stays plain data.
    profile: Object.fromEntries(profile),
    createdMs: reader.f64(),
  };
}
