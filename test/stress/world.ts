// What all clients of a stress run share: the truth about each mailbox, the run's clock of events, counts,
// violations, the gate at which everybody is held while the mailboxes are looked through.

import { setMaxListeners } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import { MailboxTruth, Ticks } from "./truth.ts";

export const mailboxNames = ["INBOX", "Stress-A", "Stress-B"] as const;

const reportsMost = 12;

export class World {
  readonly ticks = new Ticks();
  readonly password: string;
  readonly seed: number;
  readonly violations: string[] = [];
  readonly counts = new Map<string, number>();
  sessions = 0;
  refused = 0;
  /** Connections that could not be had. */
  unconnected = 0;
  /** NOOPs answered without news that were due; and how long the longest went on, ms. */
  late = 0;
  latestMs = 0;
  readonly over = new AbortController();
  /** What the session whose line is being judged has said and heard last. */
  hearing: readonly string[] = [];
  readonly #mailboxes = new Map<string, MailboxTruth>();
  readonly #say: (line: string) => void;

  constructor(seed: number, password: string, say: (line: string) => void) {
    this.seed = seed;
    this.password = password;
    this.#say = say;
    setMaxListeners(0, this.over.signal);
  }

  mailbox(user: string, name: string): MailboxTruth {
    const key = `${user}/${name}`;
    let truth = this.#mailboxes.get(key);
    if (truth === undefined) {
      truth = new MailboxTruth(user, name, this.ticks, (what) => this.violate(what));
      this.#mailboxes.set(key, truth);
    }
    return truth;
  }

  get mailboxes(): readonly MailboxTruth[] {
    return [...this.#mailboxes.values()];
  }

  /** @param lines What the session said and heard last. */
  violate(what: string, lines: readonly string[] = this.hearing): void {
    this.violations.push(what);
    if (this.violations.length > reportsMost) return;
    this.#say(`VIOLATION (seed ${this.seed}) ${what}`);
    for (const line of lines) this.#say(`    ${line}`);
  }

  count(kind: string, status: string): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
    if (status === "NO") this.refused++;
  }

  /** Ends early when the run is over. */
  async pause(ms: number): Promise<void> {
    await wait(ms, undefined, { signal: this.over.signal }).catch(() => undefined);
  }
}

/** Holds clients between commands, so that all are quiet at once. */
export class Gate {
  readonly #members: number;
  #closed: { readonly promise: Promise<void> } | undefined;
  #waiting = 0;
  #allHere: (() => void) | undefined;

  constructor(members: number) {
    this.#members = members;
  }

  /** Passes at once while the gate is open. */
  async pass(): Promise<void> {
    while (this.#closed !== undefined) {
      this.#waiting++;
      if (this.#waiting === this.#members) this.#allHere?.();
      await this.#closed.promise;
    }
  }

  /** Runs `work` while everybody waits. @throws Error when somebody does not come within the time. */
  async whileAllWait(withinMs: number, work: () => Promise<void>): Promise<void> {
    let open = (): void => {};
    const promise = new Promise<void>((done) => {
      open = done;
    });
    const allHere = new Promise<void>((done) => {
      this.#allHere = done;
    });
    this.#waiting = 0;
    this.#closed = { promise };
    const timer = new AbortController();
    try {
      await Promise.race([
        allHere,
        wait(withinMs, undefined, { signal: timer.signal }).then(() => {
          throw new Error(`${this.#members - this.#waiting} clients do not come to an end`);
        }),
      ]);
      await work();
    } finally {
      timer.abort();
      this.#closed = undefined;
      open();
    }
  }
}
