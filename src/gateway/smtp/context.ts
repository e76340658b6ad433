// What the connections of one listener share: its kind, limits, who is connected from where, and the
// watch over clients that send a message too slowly.

import type { DirectoryRow } from "../../mail/account.ts";
import type { GatewayServices } from "../services.ts";
import type { SmtpLimits } from "./limits.ts";

/** `relay` (port 25), `submission` (587, 465) or `lmtp`. */
export type SmtpKind = "relay" | "submission" | "lmtp";

interface Receiver {
  send(code: number, text: string): void;
}

const rateCheckMs = 60_000;

export class SmtpListenerContext {
  readonly kind: SmtpKind;
  readonly services: GatewayServices;
  readonly limits: SmtpLimits;
  readonly #byAddress = new Map<string, number>();
  readonly #receivers = new Map<Receiver, { readonly bytes: () => number; last: number }>();
  readonly #users = new WeakMap<object, DirectoryRow>();
  readonly #stop = new AbortController();

  constructor(kind: SmtpKind, services: GatewayServices, limits: SmtpLimits) {
    this.kind = kind;
    this.services = services;
    this.limits = limits;
    this.#watch();
  }

  /** Aborts when the listener's time is over; deliveries under way then stop waiting. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  stop(): void {
    this.#stop.abort();
  }

  /** Counts a connection in. Returns why it is refused, if so. Loopback has no limit. */
  admit(address: string): string | undefined {
    if (isLoopback(address)) return undefined;
    const count = this.#byAddress.get(address) ?? 0;
    if (count >= this.limits.connectionsPerAddressMax) {
      return "4.7.0 Too many connections from your address (limits.sessionsPerAddress)";
    }
    this.#byAddress.set(address, count + 1);
    return undefined;
  }

  leave(address: string): void {
    const count = this.#byAddress.get(address);
    if (count === undefined) return;
    if (count <= 1) this.#byAddress.delete(address);
    else this.#byAddress.set(address, count - 1);
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

  /** From now on the receiver must get at least `dataBytesPerMinuteMin` a minute. */
  watchRate(receiver: Receiver, bytes: () => number): void {
    this.#receivers.set(receiver, { bytes, last: 0 });
  }
  unwatchRate(receiver: Receiver): void {
    this.#receivers.delete(receiver);
  }

  #watch(): void {
    this.services.clock.after(rateCheckMs, () => {
      if (this.#stop.signal.aborted) return;
      for (const [receiver, watched] of this.#receivers) {
        const now = watched.bytes();
        if (now - watched.last < this.limits.dataBytesPerMinuteMin) {
          this.#receivers.delete(receiver);
          receiver.send(421, "4.4.2 Message comes too slowly");
        }
        watched.last = now;
      }
      this.#watch();
    });
  }
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}
