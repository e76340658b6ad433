// A claim: which account a name (user, alias, `@domain` catch-all) belongs to, kept in the shard
// that the name hashes to. Leaves storing to directory-store.ts, changing to claim-desk.ts.

import { createHash } from "node:crypto";
import { shardId } from "../../mail/ids.ts";
import type { AccountId, OpId, ShardId } from "../../mail/ids.ts";

/**
 * `claimed`: its account is being made. `confirmed`: the account is there. `released`: nobody's;
 * stays for its floor, so that UIDVALIDITY under this name never goes back.
 */
export type ClaimState = "claimed" | "confirmed" | "released";

export interface Claim {
  readonly name: string;
  readonly account: AccountId;
  /** The shard in which the account lives or is to be created. */
  readonly target: ShardId;
  readonly state: ClaimState;
  /** Highest UIDVALIDITY ever given under this name, as known when it was last released. */
  readonly uidValidityFloor: number;
  readonly timeMs: number;
  /** The author's operation that made it so: a retry finds its own claim. */
  readonly opId: OpId;
  /** The unfinished change that this name drives (see saga.ts), encoded: the shard's outbox. */
  readonly task?: Uint8Array | undefined;
}

/** A claim as gateways see it; without an account the name is nobody's. */
export interface ClaimRow {
  readonly name: string;
  readonly account: AccountId | undefined;
}

/** The shard that holds the claim of a normalised name: the first 4 bytes of its SHA-256 mod `shardCount`. */
export function claimShard(name: string, shardCount: number): ShardId {
  return shardId(createHash("sha256").update(name).digest().readUInt32BE(0) % shardCount);
}

export type HeldClaim = Claim & { readonly state: "claimed" | "confirmed" };

/** True while the name belongs to an account, or to one that is being made. */
export function isHeld(claim: Claim | undefined): claim is HeldClaim {
  return claim !== undefined && claim.state !== "released";
}

export function claimRow(claim: Claim): ClaimRow {
  return { name: claim.name, account: isHeld(claim) ? claim.account : undefined };
}
