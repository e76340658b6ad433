// How much room the data folder's disk has, and what may still be stored: below 10 % no new copies of
// shards, below 5 % no new mail (452 / NO), while deletions, flags and reads go on. Keeps the ballast,
// which is given up when a write finds no room at all and made again when there is some.

import { background } from "../lib/background.ts";
import { ballastBytes, makeBallast, releaseBallast } from "../lib/ballast.ts";
import type { Clock, Timer } from "../lib/clock.ts";
import type { Disk } from "../lib/disk.ts";
import type { Random } from "../lib/random.ts";
import { MailError } from "../mail/errors.ts";
import type { ShardId } from "../mail/ids.ts";

export interface DiskLimits {
  /** Share of the disk, in thousandths, below which new mail is refused. */
  readonly mailFreePerMille: number;
  /** Share below which no copy of a shard is made here. */
  readonly copyFreePerMille: number;
  /** New mail is refused below so many bytes, too; on a small disk below an eighth of it. */
  readonly floorBytes: number;
  /** Size of the ballast, on a small disk a sixteenth of it; 0: none. */
  readonly ballastBytes: number;
}

export const defaultDiskLimits: DiskLimits = {
  mailFreePerMille: 50,
  copyFreePerMille: 100,
  floorBytes: 128 * 1024 * 1024,
  ballastBytes: 64 * 1024 * 1024,
};

/** What there is room for: everything; everything but new copies; deletions and flags only. */
export type RoomLevel = "ample" | "noCopies" | "noMail";

export interface RoomFigures {
  readonly level: RoomLevel;
  readonly freeBytes: number;
  readonly totalBytes: number;
  readonly ballastBytes: number;
}

const sampleMs = 1000;
/** With less than four times the floor left, a second of mail could be too much. */
const nearFull = 4;
const sampleNearFullMs = 50;

export class DiskRoom {
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #limits: DiskLimits;
  readonly #stopping = new AbortController();
  #free = 0;
  #total = 0;
  #wasFull = false;
  #ballast = 0;
  #timer: Timer | undefined;
  #sampling: Promise<void> = Promise.resolve();
  #others: (shard: ShardId) => boolean = () => true;

  private constructor(disk: Disk, clock: Clock, random: Random, limits: DiskLimits) {
    this.#disk = disk;
    this.#clock = clock;
    this.#random = random;
    this.#limits = limits;
  }

  /** Measures once. Ballast is made with the first sample after `start`. */
  static async open(
    disk: Disk,
    clock: Clock,
    random: Random,
    limits: DiskLimits = defaultDiskLimits,
  ): Promise<DiskRoom> {
    const room = new DiskRoom(disk, clock, random, limits);
    room.#ballast = await ballastBytes(disk);
    await room.measure();
    return room;
  }

  /** Measures every second from now on, more often on a disk that is nearly full; keeps the ballast. */
  start(): void {
    const near = this.#free < nearFull * this.#mailFloor;
    this.#timer = this.#clock.after(near ? sampleNearFullMs : sampleMs, () => {
      this.#sampling = this.#sample();
      background("disk room", this.#sampling);
    });
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#timer?.cancel();
    await Promise.allSettled([this.#sampling]);
  }

  get level(): RoomLevel {
    const { copyFreePerMille } = this.#limits;
    const floor = this.#floor;
    const mail = this.#mailFloor;
    // Back only with some more: what is rewritten in the background comes and goes.
    if (this.#free < (this.#wasFull ? mail * 1.25 : mail)) return "noMail";
    const copies = Math.max(floor * 2, (this.#total * copyFreePerMille) / 1000);
    return this.#free < copies ? "noCopies" : "ample";
  }

  get #floor(): number {
    return Math.min(this.#limits.floorBytes, this.#total / 8);
  }

  /** New mail is refused with less than this free. */
  get #mailFloor(): number {
    return Math.max(this.#floor, (this.#total * this.#limits.mailFreePerMille) / 1000);
  }

  get figures(): RoomFigures {
    const [freeBytes, totalBytes] = [this.#free, this.#total];
    return { level: this.level, freeBytes, totalBytes, ballastBytes: this.#ballast };
  }

  /** Free share of the disk in thousandths. */
  get freePerMille(): number {
    return this.#total === 0 ? 0 : Math.round((this.#free * 1000) / this.#total);
  }

  /** Who else must have room for a shard's mail: the disks of its other members. */
  set others(test: (shard: ShardId) => boolean) {
    this.#others = test;
  }

  /** @throws {MailError} DISK_FULL when new mail of this shard would fill a member's disk. */
  mustTakeMail(shard: ShardId): void {
    if (this.level === "noMail" || !this.#others(shard)) {
      throw new MailError({ code: "DISK_FULL" });
    }
  }

  /** A write found no room. True when there is some now, and the write may be tried again. */
  async giveWay(): Promise<boolean> {
    const released = await releaseBallast(this.#disk);
    this.#ballast = 0;
    this.#free = 0; // Until the next sample: what the ballast gave is not for mail.
    return released;
  }

  async measure(): Promise<void> {
    const { free, total } = await this.#disk.freeBytes();
    this.#free = free;
    this.#total = total;
    this.#wasFull = this.level === "noMail";
  }

  async #sample(): Promise<void> {
    try {
      await this.measure();
      await this.#keepBallast();
    } finally {
      if (!this.#stopping.signal.aborted) this.start();
    }
  }

  /** Made only where it leaves room for mail and copies: it must not be what fills the disk. */
  async #keepBallast(): Promise<void> {
    const wanted = Math.min(this.#limits.ballastBytes, Math.floor(this.#total / 16));
    if (wanted === 0 || this.#ballast > 0 || this.level !== "ample") return;
    const made = await makeBallast(this.#disk, wanted, this.#random, this.#stopping.signal);
    this.#ballast = made ? wanted : 0;
    await this.measure();
  }
}

/**
 * Before anything is opened: gives up the ballast when the disk is so full that a start would fail.
 * True when it did.
 */
export async function makeRoomToStart(disk: Disk): Promise<boolean> {
  const ballast = await ballastBytes(disk);
  const { free } = await disk.freeBytes();
  return ballast > 0 && free < ballast ? releaseBallast(disk) : false;
}
