// Where the other members listen: read by links at each dial. The coordinator's member table fills it
// in a cluster; tests and `pabal dev` fill it by hand.

import type { MemberId } from "../../mail/ids.ts";

export interface MemberAddress {
  /** IP address or host name. */
  readonly host: string;
  readonly port: number;
}

export interface AddressBook {
  addressOf(member: MemberId): MemberAddress | undefined;
  /** Runs at each change of an address; returns a function that removes it. */
  onChange(listener: (member: MemberId) => void): () => void;
}

export class MemoryAddressBook implements AddressBook {
  readonly #addresses = new Map<MemberId, MemberAddress>();
  readonly #listeners = new Set<(member: MemberId) => void>();

  addressOf(member: MemberId): MemberAddress | undefined {
    return this.#addresses.get(member);
  }

  onChange(listener: (member: MemberId) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells listeners only when the address is another one. */
  set(member: MemberId, address: MemberAddress): void {
    const old = this.#addresses.get(member);
    if (old?.host === address.host && old.port === address.port) return;
    this.#addresses.set(member, address);
    for (const listener of this.#listeners) listener(member);
  }

  remove(member: MemberId): void {
    if (!this.#addresses.delete(member)) return;
    for (const listener of this.#listeners) listener(member);
  }
}
