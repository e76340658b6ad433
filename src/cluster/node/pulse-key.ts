// The key with which members sign their datagrams: drawn once by whoever comes first, kept in the
// coordinator, which only members can read.

import { asArray, asNumber, asRecord, asString, DecodeError } from "../../lib/decode.ts";
import type { Random } from "../../lib/random.ts";
import { MailError } from "../../mail/errors.ts";
import type { Coordinator } from "../coordinator/coordinator.ts";
import type { PulseKey } from "../pulse/pulse.ts";

const key = "secrets/pulse";
const secretBytes = 32;

/** @throws {MailError} UNAVAILABLE; CONFLICT when the coordinator's value is not understood */
export async function pulseKeys(
  coordinator: Coordinator,
  random: Random,
): Promise<readonly PulseKey[]> {
  const present = await coordinator.get(key);
  if (present !== undefined) return decode(present.value);
  const value = JSON.stringify({ keys: [{ id: 1, secret: random.hex(secretBytes) }] });
  const { ok } = await coordinator.compareAndSet([{ key, ifRevision: 0, value }]);
  // Another member was faster: its key counts.
  return ok ? decode(value) : pulseKeys(coordinator, random);
}

function decode(text: string): readonly PulseKey[] {
  try {
    const { keys } = asRecord(JSON.parse(text), "pulse keys");
    return asArray(keys, "keys").map((entry) => {
      const { id, secret } = asRecord(entry, "key");
      const bytes = Buffer.from(asString(secret, "secret"), "hex");
      if (bytes.length !== secretBytes) throw new DecodeError("secret should be 32 bytes in hex");
      return { id: asNumber(id, "id"), secret: bytes };
    });
  } catch (cause) {
    throw new MailError({ code: "CONFLICT", why: `${key} is not understood` }, { cause });
  }
}
