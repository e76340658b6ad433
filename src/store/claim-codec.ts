// Bytes of a name's claim, as entries and rows hold it.

import { assert } from "../lib/assert.ts";
import { accountId, opId, shardId } from "../mail/ids.ts";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import type { Claim, ClaimState } from "./entry-kind.ts";

const claimStates: readonly ClaimState[] = ["claimed", "confirmed", "released"];
const noBytes = new Uint8Array(0);

export function writeClaim(out: ByteWriter, claim: Claim): void {
  out.text(claim.name);
  out.varint(claim.account);
  out.varint(claim.target);
  out.u8(claimStates.indexOf(claim.state));
  out.varint(claim.uidValidityFloor);
  out.f64(claim.timeMs);
  out.text(claim.opId);
  out.bytes(claim.task ?? noBytes);
}

export function readClaim(reader: ByteReader): Claim {
  const name = reader.text();
  const account = accountId(reader.varint());
  const target = shardId(reader.varint());
  const state = claimStates[reader.u8()];
  assert(state !== undefined, "a claim has a known state");
  const claim = {
    name,
    account,
    target,
    state,
    uidValidityFloor: reader.varint(),
    timeMs: reader.f64(),
    opId: opId(reader.text()),
  };
  const task = reader.bytes();
  return task.length === 0 ? claim : { ...claim, task: Uint8Array.from(task) };
}
