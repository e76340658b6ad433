// What the connections of one listener share: its kind, limits, trusted networks, who is connected from
// where, whether it is draining, and the tick by which connections measure how long clients take.

import { setMaxListeners } from "node:events";
import type { DirectoryRow } from "../../mail/account.ts";
import type { Timer } from "../../lib/clock.ts";
import { addressGroup, isLoopback } from "../imap/client-address.ts";
import type { Evictable } from "../memory-guard.ts";
import type { TrustedNetworks } from "../proxy-protocol.ts";
import type { GatewayServices } from "../services.ts";
import type { HeaderPolicy } from "./header-gate.ts";
import { relayPolicy } from "./header-policy.ts";
import type { SmtpLimits } from "./limits.ts";

/** `relay` (port 25), `submission` (587, 465) or `lmtp`. */
export type SmtpKind = "relay" | "submission" | "lmtp";

/** A connection, as far as the tick and the memory guard go. */
export interface Ticked extends Evictable {
  /** `ms` more have passed. */
  tick(ms: number): void;
}

/** Said to new and to idle connections with 421. */
export const shortOfMemory = "4.3.1 The server is short of memory, try again later";

/** How exactly deadlines are kept. */
export const tickMs = 1000;

export class SmtpListenerContext {
  readonly kind: SmtpKind;
  readonly services: GatewayServices;
  readonly limits: SmtpLimits;
  readonly proxies: TrustedNetworks;
  /** Policy of messages that nobody logged in for. */
  readonly relayPolicy: HeaderPolicy;
  readonly #byAddress = new Map<string, number>();
  readonly #connections = new Set<Ticked>();
  readonly #users = new WeakMap<object, DirectoryRow>();
  readonly #stop = new AbortController();
  #timer: Timer;
  #draining = false;

  constructor(
    kind: SmtpKind,
    services: GatewayServices,
    limits: SmtpLimits,
    proxies: TrustedNetworks,
  ) {
    this.kind = kind;
    this.services = services;
    this.limits = limits;
    this.proxies = proxies;
    // Each delivery under way listens to it.
    setMaxListeners(0, this.#stop.signal);
    this.relayPolicy = relayPolicy(limits.hopsMax);
    this.#timer = this.#startTimer();
  }

  /** Aborts when the listener's time is over; deliveries under way then stop waiting. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** No new work is taken: each command is answered with 421. */
  get draining(): boolean {
    return this.#draining;
  }

  drain(): void {
    this.#draining = true;
  }

  stop(): void {
    this.#draining = true;
    this.#timer.cancel();
    this.#stop.abort();
  }

  /** Takes a connection in. Returns why it is refused, if so; else `leave` it once with the same address. */
  enter(connection: Ticked, address: string): string | undefined {
    if (this.services.memory?.refuses() === true) return shortOfMemory;
    if (!this.#isExempt(address)) {
      const group = addressGroup(address);
      const count = this.#byAddress.get(group) ?? 0;
      const most = this.limits.connectionsPerAddressMax;
      if (count >= most)
        return `4.7.0 More than ${most} connections from your address (limits.sessionsPerAddress)`;
      this.#byAddress.set(group, count + 1);
    }
    this.#connections.add(connection);
    this.services.memory?.enter(connection);
    return undefined;
  }

  leave(connection: Ticked, address: string): void {
    this.#connections.delete(connection);
    this.services.memory?.leave(connection);
    if (this.#isExempt(address)) return;
    const group = addressGroup(address);
    const left = (this.#byAddress.get(group) ?? 1) - 1;
    if (left > 0) this.#byAddress.set(group, left);
    else this.#byAddress.delete(group);
  }

  /** Remembers who logged in on a session. */
  setUser(session: object, row: DirectoryRow): void {
    this.#users.set(session, row);
  }

  userOf(session: { readonly user?: unknown }): DirectoryRow | undefined {
    return session.user === undefined || session.user === false
      ? undefined
      : this.#users.get(session);
  }

  #isExempt(address: string): boolean {
    return isLoopback(address) || this.proxies.has(address);
  }

  #startTimer(): Timer {
    return this.services.clock.after(tickMs, () => {
      for (const connection of this.#connections) connection.tick(tickMs);
      if (!this.signal.aborted) this.#timer = this.#startTimer();
    });
  }
}
