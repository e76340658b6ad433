// Remembers which password was right for an account, so that the next login costs no hash: a keyed
// HMAC in RAM under a key that this process draws and never tells. Bounded by count and age.

import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { DirectoryRow } from "../../mail/account.ts";
import type { AccountId } from "../../mail/ids.ts";
import type { Clock } from "../../lib/clock.ts";
import { Lru } from "../../lib/lru.ts";

interface Verified {
  readonly credVersion: number;
  readonly mac: Buffer;
  readonly untilMs: number;
}

export class VerifiedCache {
  readonly #key = randomBytes(32);
  readonly #verified: Lru<AccountId, Verified>;
  readonly #ageMs: number;
  readonly #clock: Clock;

  constructor(limits: { readonly most: number; readonly ageMs: number }, clock: Clock) {
    this.#verified = new Lru(limits.most);
    this.#ageMs = limits.ageMs;
    this.#clock = clock;
  }

  /** Gauge. */
  get size(): number {
    return this.#verified.size;
  }

  /** True when this password was verified lately and the account's credentials are still the same. */
  has(row: DirectoryRow, password: string): boolean {
    const known = this.#verified.get(row.account);
    if (known === undefined) return false;
    const valid =
      known.credVersion === row.credVersion && this.#clock.monotonicMs() < known.untilMs;
    if (!valid) {
      this.#verified.delete(row.account);
      return false;
    }
    return timingSafeEqual(known.mac, this.#mac(row, password));
  }

  add(row: DirectoryRow, password: string): void {
    const { account, credVersion } = row;
    const untilMs = this.#clock.monotonicMs() + this.#ageMs;
    this.#verified.set(account, { credVersion, mac: this.#mac(row, password), untilMs }, 1);
  }

  #mac(row: DirectoryRow, password: string): Buffer {
    return createHmac("sha256", this.#key)
      .update(`${row.account} ${row.credVersion} `)
      .update(password)
      .digest();
  }
}
