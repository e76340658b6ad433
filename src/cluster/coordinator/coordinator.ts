// The decision plane as the rest of the cluster sees it: a small, linearizable store of keys with
// compare-and-set, watch and leases. Only small, slow-changing state: never user records or mail.
// Implemented by embedded.ts (this process), remote.ts (over a link) and etcd.ts.

import { MailError } from "../../mail/errors.ts";
import type { MemberId } from "../../mail/ids.ts";

export interface KeyState {
  readonly value: string;
  /** Revision of the transaction that wrote this value. */
  readonly revision: number;
}

export interface KeyCondition {
  readonly key: string;
  /** The key's present revision; 0 when it must not exist. */
  readonly ifRevision: number;
  /** Undefined deletes the key. Carry a nonce in it: an unknown outcome is resolved by reading. */
  readonly value: string | undefined;
}

export interface KeyChange {
  readonly key: string;
  /** Undefined: deleted. */
  readonly value: string | undefined;
  readonly revision: number;
  /** The next item belongs to the same transaction: resume from before this one. */
  readonly more: boolean;
}

export interface KeyListing {
  readonly entries: readonly (KeyState & { readonly key: string })[];
  /** The listing is exact at this revision: `watch(prefix, revision, …)` goes on from it. */
  readonly revision: number;
}

/** Presence of a member, as long as its lease is renewed (which the implementation does by itself). */
export interface Registration {
  /** Number of this process start of the member: greater than every earlier one. */
  readonly incarnation: number;
  /** Resolves with the reason when presence is gone: expired, replaced, released. Never rejects. */
  readonly lost: Promise<string>;
  /** Ends presence now, rather than when the lease runs out. */
  release(): Promise<void>;
}

/** All reject with MailError UNAVAILABLE when the coordinator can't be reached in time. */
export interface Coordinator {
  get(key: string): Promise<KeyState | undefined>;
  /** All keys that begin with `prefix`, in order of their names, at one revision. */
  list(prefix: string): Promise<KeyListing>;
  /**
   * All of the changes, or none when one condition fails. At most `changesMax`; each key once.
   * `revision`: of this transaction, or, when refused, the newest.
   */
  compareAndSet(
    changes: readonly KeyCondition[],
  ): Promise<{ readonly ok: boolean; readonly revision: number }>;
  /**
   * Changes after `fromRevision`, in order, without gaps, until `signal` aborts; survives reconnects.
   * 0 gives what exists now first. From a revision older than the kept history each key comes once,
   * as it is now (deleted ones too). @throws CONFLICT: older than that, or newer than the newest.
   */
  watch(prefix: string, fromRevision: number, signal: AbortSignal): AsyncIterable<KeyChange>;
  /** Puts `presence/<member>` there under a lease; an earlier registration of the member is lost. */
  register(member: MemberId, ttlMs: number): Promise<Registration>;
  /** The newest revision, of a coordinator that is surely the present one: reads before it are no older. */
  readBarrier(): Promise<number>;
}

export const changesMax = 40;
export const keyCharsMax = 256;
export const valueCharsMax = 64 * 1024;
export const leaseMsMin = 100;

export const presencePrefix = "presence/";
const incarnationPrefix = "incarnations/";

export function presenceKey(member: MemberId): string {
  return presencePrefix + member;
}

export function incarnationKey(member: MemberId): string {
  return incarnationPrefix + member;
}

/** @throws {MailError} INVALID */
export function checkKey(key: string): void {
  if (key.length > keyCharsMax || !/^[\x21-\x7e]+$/.test(key)) {
    throw new MailError({ code: "INVALID", why: "coordinator key" });
  }
}

/** @throws {MailError} INVALID */
export function checkChanges(changes: readonly KeyCondition[]): void {
  const keys = new Set<string>();
  for (const { key, ifRevision, value } of changes) {
    checkKey(key);
    keys.add(key);
    if (!Number.isSafeInteger(ifRevision) || ifRevision < 0) {
      throw new MailError({ code: "INVALID", why: "coordinator revision" });
    }
    if (value !== undefined && value.length > valueCharsMax) {
      throw new MailError({ code: "LIMIT", limit: "coordinator value", most: valueCharsMax });
    }
  }
  if (changes.length === 0 || changes.length > changesMax || keys.size !== changes.length) {
    throw new MailError({ code: "INVALID", why: `1 to ${changesMax} changes of different keys` });
  }
}
