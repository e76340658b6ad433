// The coordinator as seen over a link: waits for the link up to a limit, repeats reads, resumes
// watches where they broke, and finds out what became of a change whose answer was lost.

import type { Clock } from "../../lib/clock.ts";
import { MailError, isMailError } from "../../mail/errors.ts";
import type { MemberId } from "../../mail/ids.ts";
import { whenUp } from "../link/link-manager.ts";
import type { Peer } from "../link/rpc.ts";
import { checkChanges, checkKey } from "./coordinator.ts";
import type {
  Coordinator,
  KeyChange,
  KeyCondition,
  KeyListing,
  KeyState,
  Registration,
} from "./coordinator.ts";
import { coordinatorMethod } from "./coordinator-service.ts";
import { holdLease } from "./lease.ts";
import type { HeldLease, LeaseHome } from "./lease.ts";

export interface RemoteCoordinatorOptions {
  /** The member that runs the embedded coordinator. */
  readonly peer: Peer;
  readonly clock: Clock;
  /** A request that has no answer by then, all repeats included, is UNAVAILABLE. */
  readonly timeoutMs?: number;
}

const timeoutMsDefault = 5000;

export class RemoteCoordinator implements Coordinator, LeaseHome {
  readonly #peer: Peer;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #closing = new AbortController();
  readonly #held = new Set<HeldLease>();

  constructor(options: RemoteCoordinatorOptions) {
    this.#peer = options.peer;
    this.#clock = options.clock;
    this.#timeoutMs = options.timeoutMs ?? timeoutMsDefault;
  }

  async get(key: string): Promise<KeyState | undefined> {
    checkKey(key);
    const [state] = await this.#read([key], this.#limit());
    return state;
  }

  async list(prefix: string): Promise<KeyListing> {
    const head = await this.#ask(coordinatorMethod.list, prefix, this.#limit());
    const [revision, entries] = list(head);
    return {
      revision: count(revision),
      entries: list(entries).map((entry) => {
        const [key, value, changed] = list(entry);
        return { key: text(key), value: text(value), revision: count(changed) };
      }),
    };
  }

  async readBarrier(): Promise<number> {
    return count(await this.#ask(coordinatorMethod.readBarrier, null, this.#limit()));
  }

  async compareAndSet(
    changes: readonly KeyCondition[],
  ): Promise<{ readonly ok: boolean; readonly revision: number }> {
    checkChanges(changes);
    const signal = this.#limit();
    const packed = changes.map(({ key, ifRevision, value }) => [key, ifRevision, value ?? null]);
    for (;;) {
      try {
        await this.#whenUp(signal);
        const { head } = await this.#call(coordinatorMethod.compareAndSet, packed, signal);
        const [ok, revision] = list(head);
        return { ok: ok === true, revision: count(revision) };
      } catch (error) {
        if (!isMailError(error, "UNAVAILABLE") || signal.aborted) throw error;
      }
      const known = await this.#outcome(changes, signal);
      if (known !== undefined) return known;
    }
  }

  async *watch(
    prefix: string,
    fromRevision: number,
    signal: AbortSignal,
  ): AsyncGenerator<KeyChange, void, undefined> {
    const ended = AbortSignal.any([signal, this.#closing.signal]);
    let known = fromRevision;
    while (!ended.aborted) {
      try {
        await whenUp(this.#peer, ended);
        const items = this.#peer.stream(coordinatorMethod.watch, [prefix, known], {
          signal: ended,
        });
        for await (const { head } of items) {
          const [revision, changes] = list(head);
          yield* transaction(count(revision), list(changes));
          known = count(revision);
        }
      } catch (error) {
        if (ended.aborted) return;
        if (!isMailError(error, "UNAVAILABLE") && !isMailError(error, "BUSY")) throw error;
      }
      await this.#pause();
    }
  }

  async register(member: MemberId, ttlMs: number): Promise<Registration> {
    const lease = await holdLease(this, this.#clock, member, ttlMs);
    this.#held.add(lease);
    lease.lost.then(
      () => this.#held.delete(lease),
      () => undefined,
    );
    return lease;
  }

  async acquireLease(member: MemberId, ttlMs: number): Promise<number> {
    // A lost answer costs one incarnation: the repeat gets the next.
    const head = [member, Math.round(ttlMs)];
    return count(await this.#ask(coordinatorMethod.acquireLease, head, this.#limit()));
  }

  async renewLease(member: MemberId, incarnation: number): Promise<boolean> {
    const { head } = await this.#call(
      coordinatorMethod.renewLease,
      [member, incarnation],
      this.#closing.signal,
    );
    return head === true;
  }

  async releaseLease(member: MemberId, incarnation: number): Promise<void> {
    await this.#call(coordinatorMethod.releaseLease, [member, incarnation], this.#closing.signal);
  }

  /** Ends watches and renewals; the link is its manager's. */
  close(): void {
    for (const lease of this.#held) lease.lose("coordinator client closed");
    this.#closing.abort(new MailError({ code: "UNAVAILABLE", why: "this member is stopping" }));
  }

  /** What became of a change without an answer, or undefined: surely nothing, it can be sent again. */
  async #outcome(
    changes: readonly KeyCondition[],
    signal: AbortSignal,
  ): Promise<{ ok: boolean; revision: number } | undefined> {
    const states = await this.#read(
      changes.map(({ key }) => key),
      signal,
    );
    // The read waited for what the coordinator had in hand, and a link that was replaced is read no
    // more: what is not there now never comes.
    const untouched = changes.every(
      ({ ifRevision }, index) => (states[index]?.revision ?? 0) === ifRevision,
    );
    if (untouched) return undefined;
    const ours = changes.every(({ value }, index) => states[index]?.value === value);
    const revision = Math.max(...states.map((state) => state?.revision ?? 0));
    return { ok: ours, revision };
  }

  async #read(
    keys: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly (KeyState | undefined)[]> {
    const head = await this.#ask(coordinatorMethod.read, keys, signal);
    return list(head).map((state) => {
      if (state === null) return undefined;
      const [value, revision] = list(state);
      return { value: text(value), revision: count(revision) };
    });
  }

  /** A request that may be repeated. */
  async #ask(method: string, head: unknown, signal: AbortSignal): Promise<unknown> {
    for (;;) {
      try {
        await this.#whenUp(signal);
        return (await this.#call(method, head, signal)).head;
      } catch (error) {
        if (!isMailError(error, "UNAVAILABLE") || signal.aborted) throw error;
      }
      await this.#pause();
    }
  }

  #call(method: string, head: unknown, signal: AbortSignal): ReturnType<Peer["call"]> {
    return this.#peer.call(method, head, { signal, deadlineMs: this.#timeoutMs });
  }

  async #whenUp(signal: AbortSignal): Promise<void> {
    try {
      await whenUp(this.#peer, signal);
    } catch (cause) {
      const why = "the coordinator can't be reached";
      throw new MailError({ code: "UNAVAILABLE", why }, { cause });
    }
  }

  /** Between tries, so that a coordinator that answers UNAVAILABLE isn't asked without end. */
  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(pauseMs, resolve);
    });
  }

  #limit(): AbortSignal {
    return AbortSignal.any([this.#closing.signal, AbortSignal.timeout(this.#timeoutMs)]);
  }
}

const pauseMs = 20;

function* transaction(
  revision: number,
  changes: readonly unknown[],
): Generator<KeyChange, void, undefined> {
  for (const [index, change] of changes.entries()) {
    const [key, value] = list(change);
    yield {
      key: text(key),
      value: value === null ? undefined : text(value),
      revision,
      more: index + 1 < changes.length,
    };
  }
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw strange();
  return value;
}

function text(value: unknown): string {
  if (typeof value !== "string") throw strange();
  return value;
}

function count(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw strange();
  return value;
}

function strange(): MailError {
  return new MailError({ code: "INVALID", why: "answer of the coordinator" });
}
