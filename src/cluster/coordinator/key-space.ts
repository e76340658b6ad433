// The embedded coordinator's state in RAM: keys, what was deleted, and the last transactions. Pure:
// embedded.ts makes transactions durable before it applies them here.

import { assert } from "../../lib/assert.ts";
import { MailError } from "../../mail/errors.ts";
import type { KeyChange, KeyCondition, KeyListing, KeyState } from "./coordinator.ts";

/** A committed change set; `null` deletes. */
export interface Transaction {
  readonly revision: number;
  readonly changes: readonly (readonly [key: string, value: string | null])[];
}

/** Everything that a snapshot keeps. */
export interface KeySpaceImage {
  readonly revision: number;
  /** Watches can't resume from before this revision: older deletions are forgotten. */
  readonly forgotten: number;
  readonly keys: readonly (readonly [key: string, value: string | null, revision: number])[];
}

interface Slot {
  /** Null: deleted; kept so that a late watch learns of it. */
  readonly value: string | null;
  readonly revision: number;
}

export class KeySpace {
  readonly #historyMax: number;
  readonly #deletedMax: number;
  readonly #slots = new Map<string, Slot>();
  #revision = 0;
  #forgotten = 0;
  #deleted = 0;
  /** The last transactions, without holes; `#historyFrom` is the revision before the first. */
  #history: Transaction[] = [];
  #historyFrom = 0;

  constructor(limits: { readonly historyMax: number; readonly deletedMax: number }) {
    this.#historyMax = limits.historyMax;
    this.#deletedMax = limits.deletedMax;
  }

  get revision(): number {
    return this.#revision;
  }

  restore(image: KeySpaceImage): void {
    assert(this.#revision === 0, "an image is restored into an empty key space");
    this.#revision = image.revision;
    this.#historyFrom = image.revision;
    this.#forgotten = image.forgotten;
    for (const [key, value, revision] of image.keys) {
      assert(revision <= image.revision, "a key is no newer than its image");
      this.#slots.set(key, { value, revision });
      if (value === null) this.#deleted += 1;
    }
  }

  image(): KeySpaceImage {
    const keys = [...this.#slots].map(
      ([key, { value, revision }]) => [key, value, revision] as const,
    );
    return { revision: this.#revision, forgotten: this.#forgotten, keys };
  }

  get(key: string): KeyState | undefined {
    const slot = this.#slots.get(key);
    if (slot === undefined || slot.value === null) return undefined;
    return { value: slot.value, revision: slot.revision };
  }

  list(prefix: string): KeyListing {
    const entries: (KeyState & { readonly key: string })[] = [];
    for (const [key, { value, revision }] of this.#slots) {
      if (value !== null && key.startsWith(prefix)) entries.push({ key, value, revision });
    }
    entries.sort((a, b) => (a.key < b.key ? -1 : 1));
    return { entries, revision: this.#revision };
  }

  /** True when all conditions hold here with `ahead` (transactions about to be applied) on top. */
  holds(conditions: readonly KeyCondition[], ahead: readonly Transaction[]): boolean {
    return conditions.every(({ key, ifRevision }) => {
      const pending = ahead.findLast(({ changes }) => changes.some(([changed]) => changed === key));
      if (pending === undefined) return (this.get(key)?.revision ?? 0) === ifRevision;
      const value = pending.changes.find(([changed]) => changed === key)?.[1] ?? null;
      return (value === null ? 0 : pending.revision) === ifRevision;
    });
  }

  apply(transaction: Transaction): void {
    assert(transaction.revision === this.#revision + 1, "revisions have no holes");
    this.#revision = transaction.revision;
    for (const [key, value] of transaction.changes) {
      if (this.#slots.get(key)?.value === null) this.#deleted -= 1;
      if (value === null) this.#deleted += 1;
      this.#slots.set(key, { value, revision: transaction.revision });
    }
    this.#history.push(transaction);
    if (this.#history.length >= 2 * this.#historyMax) {
      this.#history = this.#history.slice(-this.#historyMax);
      this.#historyFrom = (this.#history[0]?.revision ?? 1) - 1;
    }
    if (this.#deleted > this.#deletedMax) this.#forget();
  }

  /**
   * What a watcher that knows everything up to `after` has to learn, and the revision it knows then.
   * @throws {MailError} CONFLICT when it can't be told any more, or is from another history.
   */
  since(prefix: string, after: number): { readonly changes: KeyChange[]; readonly upTo: number } {
    if (after > this.#revision) {
      throw new MailError({ code: "CONFLICT", why: "watch from a revision that does not exist" });
    }
    if (after > 0 && after < this.#forgotten) {
      throw new MailError({ code: "CONFLICT", why: "watch from a revision that is compacted" });
    }
    const changes =
      after < this.#historyFrom || after === 0
        ? this.#present(prefix, after)
        : this.#recorded(prefix, after);
    return { changes, upTo: this.#revision };
  }

  #recorded(prefix: string, after: number): KeyChange[] {
    return this.#history.slice(after - this.#historyFrom).flatMap(({ revision, changes }) =>
      changes
        .filter(([key]) => key.startsWith(prefix))
        .map(([key, value], index, all) => ({
          key,
          value: value ?? undefined,
          revision,
          more: index + 1 < all.length,
        })),
    );
  }

  #present(prefix: string, after: number): KeyChange[] {
    const newer = [...this.#slots].filter(
      ([key, { value, revision }]) =>
        revision > after && key.startsWith(prefix) && (after > 0 || value !== null),
    );
    newer.sort(([, a], [, b]) => a.revision - b.revision);
    return newer.map(([key, { value, revision }], index) => ({
      key,
      value: value ?? undefined,
      revision,
      more: newer[index + 1]?.[1].revision === revision,
    }));
  }

  /** Drops the older half of the deleted keys. */
  #forget(): void {
    const deleted = [...this.#slots].filter(([, { value }]) => value === null);
    deleted.sort(([, a], [, b]) => a.revision - b.revision);
    for (const [key, { revision }] of deleted.slice(0, Math.ceil(deleted.length / 2))) {
      this.#slots.delete(key);
      this.#forgotten = Math.max(this.#forgotten, revision);
      this.#deleted -= 1;
    }
  }
}
