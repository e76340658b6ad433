// The simulated network: datagrams that get lost, doubled, late and out of order, and links that
// keep order until they break. Ends learn of a break at different times; what was on the way is gone.

import type { Draws, Schedule } from "./schedule.ts";
import type { Life } from "./life.ts";

export interface NetworkFaults {
  /** Share of datagrams lost, doubled, and delayed long. */
  readonly loss: number;
  readonly doubled: number;
  readonly late: number;
  readonly lateMsMax: number;
  readonly delayMs: number;
  readonly jitterMs: number;
  /** Share of a link's messages that overtake others, are doubled or vanish: what no TCP does. */
  readonly wild: number;
  /** A silent link is given up after this; every second one after the other. */
  readonly silenceMs: readonly [number, number];
}

/** A process on the network. */
export interface Station {
  readonly index: number;
  readonly name: string;
  readonly life: Life | undefined;
  /** False while its process does not take links yet. */
  readonly ready?: boolean;
  linkChanged(to: Station, up: boolean): void;
}

const watchMs = 60;

interface End {
  readonly station: Station;
  life: Life | undefined;
  up: boolean;
  heardMs: number;
  /** FIFO towards this end. */
  nextMs: number;
  /** Messages held up by a partition. */
  stuck: (() => void)[];
}

interface Link {
  readonly ends: readonly [End, End];
  generation: number;
  connecting: boolean;
}

export class Network {
  readonly #schedule: Schedule;
  readonly #draws: Draws;
  readonly #stations: Station[] = [];
  readonly #links: (Link | undefined)[] = [];
  readonly #blocked = new Map<number, number>();
  /** Directions that lose datagrams only. */
  readonly #deaf = new Map<number, number>();
  faults: NetworkFaults;

  constructor(schedule: Schedule, draws: Draws, faults: NetworkFaults) {
    this.#schedule = schedule;
    this.#draws = draws;
    this.faults = faults;
    this.#watch();
  }

  join(station: Station): void {
    this.#stations.push(station);
  }

  /** Keeps a link between the two from now on. */
  connect(a: Station, b: Station): void {
    const end = (station: Station): End => ({
      station,
      life: undefined,
      up: false,
      heardMs: 0,
      nextMs: 0,
      stuck: [],
    });
    const link: Link = { ends: [end(a), end(b)], generation: 0, connecting: false };
    this.#links[key(a, b)] = link;
  }

  /** Blocks one direction; `heal` takes one block away. */
  block(from: Station, to: Station): void {
    const at = direction(from, to);
    this.#blocked.set(at, (this.#blocked.get(at) ?? 0) + 1);
  }

  heal(from: Station, to: Station): void {
    const at = direction(from, to);
    this.#blocked.set(at, Math.max(0, (this.#blocked.get(at) ?? 0) - 1));
    const link = this.#links[key(from, to)];
    const end = link?.ends.find(({ station }) => station === to);
    if (end === undefined || this.isBlocked(from, to)) return;
    for (const deliver of end.stuck.splice(0)) deliver();
  }

  /** No datagrams pass in one direction; links do. `undeafen` takes one such fault away. */
  deafen(from: Station, to: Station): void {
    const at = direction(from, to);
    this.#deaf.set(at, (this.#deaf.get(at) ?? 0) + 1);
  }

  undeafen(from: Station, to: Station): void {
    const at = direction(from, to);
    this.#deaf.set(at, Math.max(0, (this.#deaf.get(at) ?? 0) - 1));
  }

  healAll(): void {
    this.#deaf.clear();
    for (const a of this.#stations) {
      for (const b of this.#stations) while (this.isBlocked(a, b)) this.heal(a, b);
    }
  }

  isBlocked(from: Station, to: Station): boolean {
    return (this.#blocked.get(direction(from, to)) ?? 0) > 0;
  }

  /** One UDP packet; `deliver` runs in the receiver's worker, never, once or twice. */
  datagram(from: Station, to: Station, deliver: () => void): void {
    const { loss, doubled, late, lateMsMax } = this.faults;
    if ((this.#deaf.get(direction(from, to)) ?? 0) > 0) return;
    if (this.isBlocked(from, to) || this.#draws.chance(loss)) return;
    const copies = this.#draws.chance(doubled) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const extra = this.#draws.chance(late) ? this.#draws.skewed(10, lateMsMax) : 0;
      this.#schedule.after(this.#delayMs() + extra, () => {
        // A restarted process has the same port: packets for its earlier life reach it.
        to.life?.pulse.run(deliver);
      });
    }
  }

  isUp(from: Station, to: Station): boolean {
    const link = this.#links[key(from, to)];
    return link?.ends.find(({ station }) => station === from)?.up === true;
  }

  /** One message over the link; false when `from` knows it to be down. */
  send(from: Station, to: Station, deliver: () => void): boolean {
    const link = this.#links[key(from, to)];
    if (link === undefined) return false;
    const [first, second] = link.ends;
    const [mine, theirs] = first.station === from ? [first, second] : [second, first];
    if (!mine.up || mine.life !== from.life) return false;
    const { generation } = link;
    const arrive = () => {
      if (link.generation !== generation || !theirs.up || theirs.life !== to.life) return;
      if (this.isBlocked(from, to)) theirs.stuck.push(arrive);
      else to.life?.main.run(deliver);
    };
    const { wild } = this.faults;
    let atMs = this.#schedule.nowMs + this.#delayMs();
    if (wild > 0 && this.#draws.chance(wild)) {
      if (this.#draws.chance(0.3)) return true;
      atMs += this.#draws.skewed(0, 300);
      if (this.#draws.chance(0.3)) this.#schedule.at(atMs + this.#draws.skewed(0, 300), arrive);
    } else {
      atMs = Math.max(theirs.nextMs, atMs);
      theirs.nextMs = atMs;
    }
    this.#schedule.at(atMs, arrive);
    return true;
  }

  /** The process ended; with `silent` (a power cut) nobody is told. */
  ended(station: Station, silent: boolean): void {
    for (const link of this.#links) {
      const mine = link?.ends.find((end) => end.station === station);
      if (link === undefined || mine === undefined) continue;
      mine.up = false;
      mine.stuck = [];
      if (!silent) this.#reset(link, mine);
    }
  }

  /** A router in between resets the link. */
  reset(a: Station, b: Station): void {
    const link = this.#links[key(a, b)];
    if (link === undefined) return;
    for (const end of link.ends) this.#lower(link, end, this.#delayMs());
  }

  /** `end` gave up; the other one hears it if packets pass. */
  #reset(link: Link, end: End): void {
    const other = link.ends[0] === end ? link.ends[1] : link.ends[0];
    if (!this.isBlocked(end.station, other.station)) this.#lower(link, other, this.#delayMs());
  }

  #lower(link: Link, end: End, delayMs: number): void {
    const { generation } = link;
    this.#schedule.after(delayMs, () => {
      if (link.generation !== generation || !end.up) return;
      end.up = false;
      end.stuck = [];
      this.#tell(end, false, generation, link);
    });
  }

  #tell(end: End, up: boolean, generation: number, link: Link): void {
    const other = link.ends[0] === end ? link.ends[1] : link.ends[0];
    const { life } = end;
    if (life === undefined || life !== end.station.life) return;
    life.main.run(() => {
      if (link.generation === generation && end.up === up) {
        end.station.linkChanged(other.station, up);
      }
    });
  }

  #watch(): void {
    this.#schedule.after(watchMs, () => {
      for (const link of this.#links) if (link !== undefined) this.#watchLink(link);
      this.#watch();
    });
  }

  #watchLink(link: Link): void {
    const [a, b] = link.ends;
    if (!a.up && !b.up) {
      this.#reconnect(link);
      return;
    }
    for (const [mine, theirs] of [
      [a, b],
      [b, a],
    ] as const) {
      if (!mine.up) continue;
      const { life } = theirs.station;
      const speaks =
        theirs.up && theirs.life === life && life?.main.blocked === false && life.alive;
      if (speaks && !this.isBlocked(theirs.station, mine.station)) {
        mine.heardMs = this.#schedule.nowMs;
      } else if (this.#schedule.nowMs - mine.heardMs > this.#silenceMs(link)) {
        this.#lower(link, mine, 0);
        this.#reset(link, mine);
      }
    }
  }

  #silenceMs({ ends: [a, b] }: Link): number {
    const [even, odd] = this.faults.silenceMs;
    return (a.station.index + b.station.index) % 2 === 0 ? even : odd;
  }

  #reconnect(link: Link): void {
    const [a, b] = link.ends;
    const lives = [a.station.life, b.station.life] as const;
    const able =
      lives.every((life) => life?.alive === true && !life.main.blocked) &&
      link.ends.every(({ station }) => station.ready !== false);
    const free = !this.isBlocked(a.station, b.station) && !this.isBlocked(b.station, a.station);
    if (link.connecting || !able || !free) return;
    link.connecting = true;
    this.#schedule.after(this.#delayMs() * 3, () => {
      link.connecting = false;
      if (lives[0] !== a.station.life || lives[1] !== b.station.life) return;
      if (lives.some((life) => life?.alive !== true)) return;
      link.generation += 1;
      for (const end of link.ends) {
        end.life = end.station.life;
        end.up = true;
        end.heardMs = this.#schedule.nowMs;
        end.nextMs = this.#schedule.nowMs;
        end.stuck = [];
      }
      const { generation } = link;
      for (const end of link.ends) {
        this.#schedule.after(this.#draws.between(0, 2), () => {
          if (link.generation === generation && end.up) this.#tell(end, true, generation, link);
        });
      }
    });
  }

  #delayMs(): number {
    const { delayMs, jitterMs } = this.faults;
    return delayMs + this.#draws.skewed(0, jitterMs);
  }
}

const stationsMax = 32;

function direction(from: Station, to: Station): number {
  return from.index * stationsMax + to.index;
}

function key(a: Station, b: Station): number {
  return a.index < b.index ? direction(a, b) : direction(b, a);
}
