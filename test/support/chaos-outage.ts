// How long users had to wait because of faults: each operation of each user is noted with its begin and
// end, each fault with the users whose mail it concerned. Judging is the scenario's.

export interface Percentiles {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** What users wait for: to be served in spite of a fault, or again after a heal. */
export type OutageKind = "fault" | "heal";

interface Fault {
  readonly kind: OutageKind;
  readonly atMs: number;
  /** What users wait for from here on has other causes. */
  endMs: number;
  readonly what: string;
  readonly concerned: ReadonlySet<string>;
  /** The longest that an operation of this user waited because of it, ms. */
  readonly waits: Map<string, number>;
}

/** An operation that began this long after a fault did not wait because of it. */
const aftermathMs = 5000;

export class Outages {
  readonly #faults: Fault[] = [];
  /** The slowest operations of users whom no fault concerned. */
  #others = 0;

  /** A fault happens now. `concerned`: users with a copy on the member that is hit. */
  fault(what: string, concerned: ReadonlySet<string>, kind: OutageKind = "fault"): void {
    this.#faults.push({
      kind,
      atMs: performance.now(),
      endMs: Infinity,
      what,
      concerned,
      waits: new Map(),
    });
  }

  /** Nobody waits because of an earlier fault any more: what comes now is another one. */
  end(): void {
    const nowMs = performance.now();
    for (const fault of this.#faults) fault.endMs = Math.min(fault.endMs, nowMs);
  }

  /** An operation of `user` has succeeded now, at last. Tries that were refused belong to it. */
  operation(user: string, startedMs: number, endedMs: number): void {
    let concerned = false;
    for (let at = this.#faults.length - 1; at >= 0; at--) {
      const fault = this.#faults[at];
      if (fault === undefined || endedMs < fault.atMs) continue;
      if (startedMs > fault.atMs + aftermathMs) break;
      if (!fault.concerned.has(user) || startedMs > fault.endMs) continue;
      concerned = true;
      const waited = Math.min(endedMs, fault.endMs) - Math.max(startedMs, fault.atMs);
      fault.waits.set(user, Math.max(waited, fault.waits.get(user) ?? 0));
    }
    if (!concerned) this.#others = Math.max(this.#others, endedMs - startedMs);
  }

  get faults(): number {
    return this.#faults.filter(({ kind }) => kind === "fault").length;
  }

  /** Unavailability over all pairs of a fault and a user whom it concerned, ms. */
  unavailability(kind: OutageKind = "fault"): Percentiles {
    const some = this.#faults.filter((fault) => fault.kind === kind);
    return percentiles(some.flatMap(({ waits }) => [...waits.values()]));
  }

  /** The longest wait of a user whom no fault concerned, ms. */
  get others(): number {
    return this.#others;
  }

  /** The longest waits with what caused them, for a report. */
  worst(count: number, kind: OutageKind = "fault"): readonly string[] {
    return this.#faults
      .filter((fault) => fault.kind === kind)
      .flatMap(({ what, waits }) => [...waits].map(([user, ms]) => ({ what, user, ms })))
      .toSorted((a, b) => b.ms - a.ms)
      .slice(0, count)
      .map(({ what, user, ms }) => `${user} waited ${Math.round(ms)} ms after ${what}`);
  }
}

export function percentiles(values: readonly number[]): Percentiles {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}
