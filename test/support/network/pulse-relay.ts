// A UDP relay in one direction, from one member to another, that can drop everything, or behave like a
// bad network: datagrams lost, doubled, late, and some that nobody has sent.

import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";

/** Shares of datagrams from 0 to 1. */
export interface Weather {
  readonly lost: number;
  /** Come twice, the second one up to 100 ms later. */
  readonly doubled: number;
  /** Are followed by one with a flipped bit, or by an old one once more. */
  readonly forged: number;
}

export const fairWeather: Weather = { lost: 0, doubled: 0, forged: 0 };
const keptMax = 32;

export class PulseRelay {
  readonly #socket: Socket;
  readonly #targetPort: () => number | undefined;
  readonly #random: () => number;
  readonly #kept: Buffer[] = [];
  #weather = fairWeather;
  #cut = false;
  readonly counts = { passed: 0, lost: 0, doubled: 0, forged: 0 };

  static async start(
    targetPort: () => number | undefined,
    random: () => number,
  ): Promise<PulseRelay> {
    const relay = new PulseRelay(targetPort, random);
    relay.#socket.bind({ address: "127.0.0.1", port: 0 });
    await once(relay.#socket, "listening");
    return relay;
  }

  private constructor(targetPort: () => number | undefined, random: () => number) {
    this.#targetPort = targetPort;
    this.#random = random;
    this.#socket = createSocket("udp4");
    this.#socket.on("message", (datagram) => this.#take(datagram));
  }

  get port(): number {
    return this.#socket.address().port;
  }

  cut(cut: boolean): void {
    this.#cut = cut;
  }

  setWeather(weather: Weather): void {
    this.#weather = weather;
  }

  close(): void {
    this.#socket.close();
  }

  #take(datagram: Buffer): void {
    const { lost, doubled, forged } = this.#weather;
    if (this.#cut) return;
    if (forged > 0) {
      this.#kept.push(Buffer.from(datagram));
      if (this.#kept.length > keptMax) this.#kept.shift();
    }
    if (this.#random() < lost) this.counts.lost++;
    else this.#pass(datagram, "passed");
    if (this.#random() < doubled) {
      setTimeout(() => this.#pass(datagram, "doubled"), this.#random() * 100).unref();
    }
    if (this.#random() < forged) this.#pass(this.#forgery(datagram), "forged");
  }

  #forgery(datagram: Buffer): Buffer {
    const old = this.#kept[Math.floor(this.#random() * this.#kept.length)];
    if (old !== undefined && this.#random() < 0.5) return old;
    const changed = Buffer.from(datagram);
    const at = Math.floor(this.#random() * changed.length);
    changed[at] = (changed[at] ?? 0) ^ (1 << Math.floor(this.#random() * 8));
    return changed;
  }

  #pass(datagram: Buffer, as: keyof PulseRelay["counts"]): void {
    const port = this.#targetPort();
    if (port === undefined || this.#cut) return;
    this.counts[as]++;
    this.#socket.send(datagram, port, "127.0.0.1", () => undefined);
  }
}
