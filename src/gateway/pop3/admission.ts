// Counts the connections of one listener and says which are too many.

import type { Pop3Limits } from "./limits.ts";

type AdmissionLimits = Pick<Pop3Limits, "connectionsMax" | "connectionsPerAddressMax">;

/** RFC 2449 §8.1.2 */
export const shortOfMemory = "-ERR [SYS/TEMP] The server is short of memory, try again later";

export class Admission {
  readonly #limits: AdmissionLimits;
  readonly #exempt: (address: string) => boolean;
  readonly #perAddress = new Map<string, number>();
  #count = 0;

  /** @param exempt Addresses that the limit per address doesn't count, besides loopback. */
  constructor(limits: AdmissionLimits, exempt: (address: string) => boolean = () => false) {
    this.#limits = limits;
    this.#exempt = (address) => isLoopback(address) || exempt(address);
  }

  /** Counts a connection from `address` in and returns undefined, or says why not. RFC 2449 §8 */
  admit(address: string): string | undefined {
    const { connectionsMax, connectionsPerAddressMax } = this.#limits;
    const here = this.#perAddress.get(address) ?? 0;
    if (this.#count >= connectionsMax) {
      return "-ERR [SYS/TEMP] Too many connections, try again later";
    }
    if (here >= connectionsPerAddressMax && !this.#exempt(address)) {
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

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}
