// Keeping a member's presence: acquiring it in compare-and-sets, and renewing it from the member's
// side until it is lost or released. Used by every implementation of Coordinator.

import type { Clock, Timer } from "../../lib/clock.ts";
import { isMailError, MailError } from "../../mail/errors.ts";
import type { MemberId } from "../../mail/ids.ts";
import { incarnationKey, presenceKey } from "./coordinator.ts";
import type { Coordinator, Registration } from "./coordinator.ts";

/** What `presence/<member>` says. */
export interface Presence {
  readonly incarnation: number;
  readonly ttlMs: number;
}

/** Where leases are kept: this process or the other end of a link. */
export interface LeaseHome {
  /** Gives the member's next incarnation, which from now on must be renewed within `ttlMs`. */
  acquireLease(member: MemberId, ttlMs: number): Promise<number>;
  /** False when that incarnation's presence is gone. */
  renewLease(member: MemberId, incarnation: number): Promise<boolean>;
  releaseLease(member: MemberId, incarnation: number): Promise<void>;
}

const triesMax = 100;

/** Writes the next incarnation and presence in one transaction. */
export async function acquirePresence(
  keys: Pick<Coordinator, "get" | "compareAndSet">,
  member: MemberId,
  ttlMs: number,
): Promise<number> {
  for (let tries = 0; tries < triesMax; tries++) {
    const last = await keys.get(incarnationKey(member));
    const present = await keys.get(presenceKey(member));
    const incarnation = Number(last?.value ?? "0") + 1;
    const presence: Presence = { incarnation, ttlMs };
    const { ok } = await keys.compareAndSet([
      { key: incarnationKey(member), ifRevision: last?.revision ?? 0, value: String(incarnation) },
      {
        key: presenceKey(member),
        ifRevision: present?.revision ?? 0,
        value: JSON.stringify(presence),
      },
    ]);
    if (ok) return incarnation;
  }
  throw new MailError({ code: "BUSY", what: `registration of ${member}` });
}

/** The presence in a key's value, or undefined when it is none. */
export function decodePresence(value: string | undefined): Presence | undefined {
  if (value === undefined) return undefined;
  const parsed: unknown = JSON.parse(value);
  if (typeof parsed !== "object" || parsed === null) return undefined;
  if (!("incarnation" in parsed) || !("ttlMs" in parsed)) return undefined;
  const { incarnation, ttlMs } = parsed;
  if (typeof incarnation !== "number" || typeof ttlMs !== "number") return undefined;
  return { incarnation, ttlMs };
}

/** Registers, then renews three times a lease length until lost or released. */
export async function holdLease(
  home: LeaseHome,
  clock: Clock,
  member: MemberId,
  ttlMs: number,
): Promise<HeldLease> {
  const askedMs = clock.monotonicMs();
  const incarnation = await home.acquireLease(member, ttlMs);
  return new HeldLease(home, clock, { member, incarnation, ttlMs, askedMs });
}

export class HeldLease implements Registration {
  readonly incarnation: number;
  readonly lost: Promise<string>;
  readonly #home: LeaseHome;
  readonly #clock: Clock;
  readonly #member: MemberId;
  readonly #ttlMs: number;
  /** When the newest successful renewal was *asked*: the home's own count began later. */
  #renewedMs: number;
  #timer: Timer | undefined;
  #asking = false;
  #end: (reason: string) => void = () => undefined;
  #ended = false;

  constructor(
    home: LeaseHome,
    clock: Clock,
    lease: {
      readonly member: MemberId;
      readonly incarnation: number;
      readonly ttlMs: number;
      readonly askedMs: number;
    },
  ) {
    this.#home = home;
    this.#clock = clock;
    this.#member = lease.member;
    this.incarnation = lease.incarnation;
    this.#ttlMs = lease.ttlMs;
    this.#renewedMs = lease.askedMs;
    this.lost = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#plan();
  }

  async release(): Promise<void> {
    if (this.#ended) return;
    this.lose("released");
    await this.#home.releaseLease(this.#member, this.incarnation);
  }

  /** Stops renewing; presence itself ends at the home when the lease runs out. */
  lose(reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#timer?.cancel();
    this.#end(reason);
  }

  #plan(): void {
    this.#timer = this.#clock.after(this.#ttlMs / 6, () => this.#beat());
  }

  #beat(): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - this.#renewedMs >= this.#ttlMs) {
      this.lose("lease not renewed in time");
      return;
    }
    this.#plan();
    if (this.#asking || nowMs - this.#renewedMs < this.#ttlMs / 3) return;
    this.#asking = true;
    this.#home.renewLease(this.#member, this.incarnation).then(
      (renewed) => {
        this.#asking = false;
        if (renewed) this.#renewedMs = nowMs;
        else this.lose("lease expired or was taken over");
      },
      (error: unknown) => {
        this.#asking = false;
        // Unreachable: the next beat tries again until the lease has run out.
        if (!isMailError(error)) this.lose(`renewal failed: ${String(error)}`);
      },
    );
  }
}
