// One life of a simulated process: its own clock, and two lanes (the main thread, and the worker
// with heartbeats and leases), each of which can stand still while the world goes on.

import type { Schedule } from "./schedule.ts";

/** Work of a thread, in order; what arrives while it stands still waits. */
export class Lane {
  readonly #life: Life;
  #blocks = 0;
  #blockedSinceMs = 0;
  #waiting: (() => void)[] = [];

  constructor(life: Life) {
    this.#life = life;
  }

  get blocked(): boolean {
    return this.#blocks > 0;
  }

  /** Runs now, or when the thread goes on; never after the process's end. */
  run(work: () => void): void {
    if (!this.#life.alive) return;
    // A stopped process's sockets hold so much; then packets are lost, which is a fault of its own.
    if (this.#blocks === 0) work();
    else if (this.#waiting.length < 5000) this.#waiting.push(work);
  }

  /** Runs after so much time of the process's own clock. */
  after(localMs: number, work: () => void): void {
    const life = this.#life;
    life.schedule.after(localMs / life.rate, () => this.run(work));
  }

  /** Runs again and again. */
  every(localMs: number, work: () => void): void {
    this.after(localMs, () => {
      work();
      this.every(localMs, work);
    });
  }

  /** For how long the thread has stood still. */
  get blockedMs(): number {
    return this.blocked ? this.#life.schedule.nowMs - this.#blockedSinceMs : 0;
  }

  block(): void {
    if (this.#blocks === 0) this.#blockedSinceMs = this.#life.schedule.nowMs;
    this.#blocks += 1;
  }

  unblock(): void {
    this.#blocks -= 1;
    if (this.#blocks > 0) return;
    const work = this.#waiting;
    this.#waiting = [];
    for (const item of work) this.run(item);
  }
}

export class Life {
  readonly schedule: Schedule;
  /** Of its machine. */
  readonly index: number;
  readonly incarnation: number;
  readonly rate: number;
  readonly main: Lane;
  readonly pulse: Lane;
  alive = true;
  readonly #offsetMs: number;
  #pausedMs = 0;
  #pausedSinceMs: number | undefined;

  constructor(
    schedule: Schedule,
    index: number,
    incarnation: number,
    rate: number,
    offsetMs: number,
  ) {
    this.schedule = schedule;
    this.index = index;
    this.incarnation = incarnation;
    this.rate = rate;
    this.#offsetMs = offsetMs;
    this.main = new Lane(this);
    this.pulse = new Lane(this);
  }

  /** The process's monotonic clock. */
  get nowMs(): number {
    const trueMs = this.#pausedSinceMs ?? this.schedule.nowMs;
    return this.#offsetMs + (trueMs - this.#pausedMs) * this.rate;
  }

  /** The machine's wall clock, which a pause of the virtual machine doesn't hold up. */
  get wallMs(): number {
    return this.schedule.nowMs * this.rate;
  }

  get stopped(): boolean {
    return this.pulse.blocked;
  }

  /** SIGSTOP: the process stands, its clock goes on. */
  stop(): void {
    this.main.block();
    this.pulse.block();
  }

  resume(): void {
    this.pulse.unblock();
    this.main.unblock();
  }

  /** The whole virtual machine stands, its monotonic clock with it. */
  pause(): void {
    this.#pausedSinceMs ??= this.schedule.nowMs;
    this.stop();
  }

  unpause(): void {
    if (this.#pausedSinceMs !== undefined) {
      this.#pausedMs += this.schedule.nowMs - this.#pausedSinceMs;
      this.#pausedSinceMs = undefined;
    }
    this.resume();
  }
}
