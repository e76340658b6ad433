// Which members are present in the coordinator: the last to notice that one is gone, seconds after
// its process, but the word that counts for "registered".

import type { Logger } from "pino";
import type { Clock } from "../../lib/clock.ts";
import type { Coordinator } from "../coordinator/coordinator.ts";
import { presencePrefix } from "../coordinator/coordinator.ts";
import { decodePresence } from "../coordinator/lease.ts";
import { KeyFollower } from "./follow-keys.ts";
import type { MemberRecord } from "./shard-codec.ts";

export class PresenceTable {
  /** Incarnations of present members. */
  readonly #present = new Map<string, number>();
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();

  /** @throws {MailError} UNAVAILABLE */
  static async open(options: {
    readonly coordinator: Coordinator;
    readonly clock: Clock;
    readonly logger: Logger;
  }): Promise<PresenceTable> {
    const table = new PresenceTable();
    await KeyFollower.start({
      ...options,
      prefix: presencePrefix,
      onKey: (key, value) => table.#onKey(key.slice(presencePrefix.length), value),
      signal: table.#stop.signal,
    });
    return table;
  }

  /**
   * True when the process that announced this record is present: not a later start of the member, which
   * has announced nothing yet. One that lost its presence and registered anew has said under what number.
   */
  isPresent({ member, incarnation, presence = incarnation }: MemberRecord): boolean {
    return this.#present.get(member) === presence;
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  close(): void {
    this.#stop.abort();
  }

  #onKey(member: string, value: string | undefined): void {
    const incarnation = decodePresence(value)?.incarnation;
    if (this.#present.get(member) === incarnation) return;
    if (incarnation === undefined) this.#present.delete(member);
    else this.#present.set(member, incarnation);
    for (const listener of this.#listeners) listener();
  }
}
