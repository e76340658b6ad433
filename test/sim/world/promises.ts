// What a shell keeps beside its machine: which leases the pulse was told of, how far back the log
// reaches, and entries as they travel.

import type { Grant } from "../../../src/cluster/protocol/heartbeat-types.ts";
import { lsn as makeLsn } from "../../../src/mail/ids.ts";
import { grantOf, holdOf } from "../../../src/cluster/protocol/replica.ts";
import type { ReplicaState } from "../../../src/cluster/protocol/replica-state.ts";
import type {
  ReplicaEffect,
  ReplicaEvent,
  WireEntry,
} from "../../../src/cluster/protocol/replica-types.ts";
import { entryAt } from "./disk.ts";
import type { Run } from "./disk.ts";
import type { NodeProcess } from "./node-process.ts";
import type { Op } from "./requests.ts";

export class Promises {
  #grant: Grant | undefined;
  #granted = "";
  #held = "";

  tell(shard: number, state: ReplicaState, { world, pulse }: NodeProcess): void {
    // With the rule broken that a seal ends grants they go on until the next config.
    const keeps = world.broken === "sealStopsGrants" && state.role === "secondary";
    this.#grant = grantOf(state) ?? (keeps ? this.#grant : undefined);
    const grant = this.#grant;
    const hold = holdOf(state);
    const granted = grant === undefined ? "" : `${grant.epoch} ${grant.primary}`;
    const held = hold === undefined ? "" : `${hold.epoch} ${hold.secondaries.join(" ")}`;
    if (granted !== this.#granted) pulse.setGrant(shard, grant);
    if (held !== this.#held) pulse.setHold(shard, hold);
    this.#granted = granted;
    this.#held = held;
  }
}

/** The log keeps everything for some seconds, and the newest entries for longer. */
export class LogWindow {
  prunedLsn = 0;
  #sample = { atMs: 0, lsn: 0 };

  note(nowMs: number, applied: number, entries: number): void {
    if (nowMs - this.#sample.atMs < keptMs) return;
    this.prunedLsn = Math.max(this.prunedLsn, Math.min(this.#sample.lsn, applied - entries));
    this.#sample = { atMs: nowMs, lsn: applied };
  }
}

/** Entries that were written and are not on the disk yet. */
export class Unsynced {
  readonly #entries = new Set<{ readonly tail: boolean; readonly lsn: number }>();

  add(tail: boolean, lsn: number) {
    const entry = { tail, lsn };
    this.#entries.add(entry);
    return entry;
  }

  /** False when it was cut. */
  done(entry: { readonly tail: boolean; readonly lsn: number }): boolean {
    return this.#entries.delete(entry);
  }

  cut(tail: boolean, afterLsn: number): void {
    for (const entry of this.#entries) {
      if (entry.tail === tail && entry.lsn > afterLsn) this.#entries.delete(entry);
    }
  }
}

const keptMs = 3000;

export function entriesOf(run: Run, from: number, through: number): WireEntry<Op>[] {
  const entries: WireEntry<Op>[] = [];
  for (let lsn = from; lsn <= through; lsn++) {
    const entry = entryAt(run, lsn);
    if (entry === undefined) break;
    const { epoch, hash, prevHash, op } = entry;
    entries.push({ lsn: makeLsn(lsn), epoch, hash, prevHash, missing: [], ref: op });
  }
  return entries;
}

/** One line of a detailed trace; undefined for steps that did nothing. */
export function describeStep(
  name: string,
  shard: number,
  event: ReplicaEvent<Op>,
  effects: readonly ReplicaEffect<Op>[],
): string | undefined {
  if ((event.kind === "tick" || event.kind === "flush") && effects.length === 0) return undefined;
  const done = effects.map((effect) => JSON.stringify(effect)).join(" ");
  return `${name} shard ${shard} ${JSON.stringify(event)} → ${done}`;
}
