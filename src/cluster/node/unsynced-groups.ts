// How far a log will reach once each group that is not on disk yet is: its newest entry in each. An
// entry that was cut may come again with the same hash; only the later one's group makes it durable.

import type { Lsn } from "../../mail/ids.ts";
import type { CommitGroup } from "../../store/log/types.ts";

interface Unsynced {
  readonly group: CommitGroup;
  readonly sinceMs: number;
  lsn: Lsn;
  hash: number;
}

export class UnsyncedGroups {
  /** Oldest first. */
  #groups: Unsynced[] = [];

  /** Since when the oldest one waits. */
  get sinceMs(): number | undefined {
    return this.#groups[0]?.sinceMs;
  }

  appended(group: CommitGroup, lsn: Lsn, hash: number, nowMs: number): void {
    const newest = this.#groups.at(-1);
    if (newest?.group === group) {
      newest.lsn = lsn;
      newest.hash = hash;
    } else {
      this.#groups.push({ group, sinceMs: nowMs, lsn, hash });
    }
  }

  /** The group is on disk; undefined when it holds nothing of this log. */
  synced(group: CommitGroup): Readonly<Unsynced> | undefined {
    return this.#groups[0]?.group === group ? this.#groups.shift() : undefined;
  }

  /** What these groups hold behind `afterLsn` is void. */
  cut(afterLsn: Lsn, afterHash: number): void {
    for (const unsynced of this.#groups) {
      if (unsynced.lsn <= afterLsn) continue;
      unsynced.lsn = afterLsn;
      unsynced.hash = afterHash;
    }
  }

  /** The log begins anew: nothing written before counts. */
  clear(): void {
    this.#groups = [];
  }
}
