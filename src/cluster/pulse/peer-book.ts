// Where the pulse sends to: members with numeric addresses. Names are looked up when they are set and
// again from time to time, never on the way of a packet.

import { lookup } from "node:dns/promises";
import { isIP, isIPv4 } from "node:net";
import type { MemberId } from "../../mail/ids.ts";
import type { PulsePeer } from "./pulse.ts";

export interface Destination {
  readonly member: MemberId;
  readonly incarnation: number;
  readonly address: string;
  readonly port: number;
}

const lookupEveryMs = 10_000;

export class PeerBook {
  readonly #v6: boolean;
  #peers: ReadonlyMap<MemberId, { readonly peer: PulsePeer; readonly slot: number }> = new Map();
  readonly #addresses = new Map<string, string>();
  readonly #timer: NodeJS.Timeout;

  /** @param v6 the socket's family; an IPv6 socket reaches IPv4 addresses by their mapped form. */
  constructor(v6: boolean) {
    this.#v6 = v6;
    this.#timer = setInterval(() => this.#lookUp(), lookupEveryMs);
  }

  set(peers: readonly PulsePeer[], slots: readonly number[]): void {
    this.#peers = new Map(
      peers.map((peer, at) => [peer.member, { peer, slot: slots[at] ?? -1 }] as const),
    );
    this.#lookUp();
  }

  slotOf(member: MemberId): number | undefined {
    const slot = this.#peers.get(member)?.slot;
    return slot === undefined || slot < 0 ? undefined : slot;
  }

  /** Undefined when it is not listed, or its name has no address yet. */
  get(member: MemberId): Destination | undefined {
    const peer = this.#peers.get(member)?.peer;
    if (peer === undefined) return undefined;
    const { host, port, incarnation } = peer;
    const numeric = isIP(host) === 0 ? this.#addresses.get(host) : host;
    if (numeric === undefined) return undefined;
    const address = this.#v6 && isIPv4(numeric) ? `::ffff:${numeric}` : numeric;
    return { member, incarnation, address, port };
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #lookUp(): void {
    const names = new Set([...this.#peers.values()].map(({ peer }) => peer.host));
    for (const name of names) {
      if (isIP(name) !== 0) continue;
      lookup(name, this.#v6 ? {} : { family: 4 }).then(
        ({ address }) => this.#addresses.set(name, address),
        // The last known address stays; without one the member is unreachable, which shows.
        () => undefined,
      );
    }
  }
}
