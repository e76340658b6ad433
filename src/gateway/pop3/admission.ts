// Counts the connections of one listener and says which are too many.

import type { Pop3Limits } from "./limits.ts";

type AdmissionLimits = Pick<Pop3Limits, "connectionsMax" | "connectionsPerAddressMax">;

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #perAddress = new Map<string, number>();
  #count = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** Counts a connection from `address` in and returns undefined, or says why not. RFC 2449 §8 */
  admit(address: string): string | undefined {
    const { connectionsMax, connectionsPerAddressMax } = this.#limits;
    const here = this.#perAddress.get(address) ?? 0;
    if (this.#count >= connectionsMax) {
      return "-ERR [SYS/TEMP] Too many connections, try again later";
    }
    if (here >= connectionsPerAddressMax && !isLoopback(address)) {
      return `-ERR [SYS/TEMP] ${connectionsPerAddressMax} connections from one address are the limit`;
    }
    this.#count++;
    this.#perAddress.set(address, here + 1);
    return undefined;
  }

  /** Counts an admitted connection out. */
  leave(address: string): void {
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    this.#count--;
    if (left > 0) this.#perAddress.set(address, left);
    else this.#perAddress.delete(address);
  }
}

/** An IPv4 address as such, also when it came in through an IPv6 socket. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, "");
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}
