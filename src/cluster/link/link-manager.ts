// The outgoing links of this member, one per other member, made when first asked for, and the newest
// load figures that came with replies. Leaves a single link's life to outgoing-peer.ts.

import type { Logger } from "pino";
import type { Clock, Timer } from "../../lib/clock.ts";
import type { Random } from "../../lib/random.ts";
import type { MemberId } from "../../mail/ids.ts";
import type { AddressBook } from "./address-book.ts";
import type { FrameType } from "./frame.ts";
import type { LinkPurpose, SelfDescription } from "./hello.ts";
import { LinkCounters, defaultLinkLimits, tickMs } from "./link.ts";
import type { LinkLimits } from "./link.ts";
import type { LinkSecurity } from "./link-security.ts";
import { OutgoingPeer } from "./outgoing-peer.ts";
import type { PeerOptions } from "./outgoing-peer.ts";
import type { Links, Peer } from "./rpc.ts";

export interface LinkManagerOptions {
  readonly self: SelfDescription;
  readonly addresses: AddressBook;
  readonly security: LinkSecurity;
  readonly clock: Clock;
  readonly log: Logger;
  /** Spreads reconnects, and names this process start. */
  readonly random: Random;
  readonly purpose?: LinkPurpose;
  readonly limits?: Partial<LinkLimits>;
  readonly onFrame?: (direction: "in" | "out", type: FrameType, bytes: number) => void;
}

export class LinkManager implements Links {
  readonly counters = new LinkCounters();
  readonly #peers = new Map<MemberId, OutgoingPeer>();
  readonly #loads = new Map<MemberId, unknown>();
  readonly #peerOptions: Omit<PeerOptions, "onLoads">;
  readonly #unsubscribe: () => void;
  readonly #ticker: Ticker;
  #serial = 0;
  #closed = false;

  constructor(options: LinkManagerOptions) {
    const { limits, purpose, ...rest } = options;
    this.#peerOptions = {
      ...rest,
      limits: { ...defaultLinkLimits, ...limits },
      purpose: purpose ?? "data",
      counters: this.counters,
      boot: options.random.hex(12),
      nextSerial: () => {
        this.#serial += 1;
        return this.#serial;
      },
    };
    this.#unsubscribe = options.addresses.onChange((member) =>
      this.#peers.get(member)?.addressChanged(),
    );
    this.#ticker = new Ticker(options.clock, (nowMs, late) => {
      for (const peer of this.#peers.values()) peer.tick(nowMs, late);
    });
  }

  peer(id: MemberId): Peer {
    return this.outgoing(id);
  }

  /** As `peer`, with what status and metrics show. */
  outgoing(id: MemberId): OutgoingPeer {
    const known = this.#peers.get(id);
    if (known !== undefined) return known;
    const peer = new OutgoingPeer(id, {
      ...this.#peerOptions,
      onLoads: (loads) => this.#loads.set(id, loads),
    });
    if (this.#closed) peer.close("this member is stopping");
    else this.#peers.set(id, peer);
    return peer;
  }

  /** All peers asked for so far. */
  peers(): readonly OutgoingPeer[] {
    return [...this.#peers.values()];
  }

  loads(): ReadonlyMap<MemberId, unknown> {
    return this.#loads;
  }

  /** Dials a member at once that is known to be alive (LinkServer's `onGreeted`), if it was asked for. */
  wake(id: MemberId): void {
    this.#peers.get(id)?.wake();
  }

  /** Forgets a member that left the cluster. */
  remove(id: MemberId): void {
    this.#peers.get(id)?.close("member removed");
    this.#peers.delete(id);
    this.#loads.delete(id);
  }

  /** Ends every link; what is under way fails with UNAVAILABLE. */
  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    this.#ticker.stop();
    for (const peer of this.#peers.values()) peer.close("this member is stopping");
  }
}

/**
 * Resolves once a link to the peer is up.
 * @throws the signal's reason when it aborts first.
 */
export function whenUp(peer: Peer, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.reject(reasonOf(signal));
  if (peer.up) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      remove();
      reject(reasonOf(signal));
    };
    const remove = peer.onChange((up) => {
      if (!up) return;
      remove();
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

function reasonOf(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : new Error("aborted", { cause: reason });
}

/** Calls `run` every `tickMs`, saying when it is late: then our own stall is not to be taken for a peer's. */
export class Ticker {
  readonly #clock: Clock;
  readonly #run: (nowMs: number, late: boolean) => void;
  #lastMs: number;
  #timer: Timer;

  constructor(clock: Clock, run: (nowMs: number, late: boolean) => void) {
    this.#clock = clock;
    this.#run = run;
    this.#lastMs = clock.monotonicMs();
    this.#timer = clock.after(tickMs, () => this.#tick());
  }

  stop(): void {
    this.#timer.cancel();
  }

  #tick(): void {
    const nowMs = this.#clock.monotonicMs();
    const late = nowMs - this.#lastMs > 2 * tickMs;
    this.#lastMs = nowMs;
    this.#timer = this.#clock.after(tickMs, () => this.#tick());
    this.#run(nowMs, late);
  }
}
