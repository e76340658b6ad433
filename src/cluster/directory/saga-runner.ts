// Carries sagas out: asks what saga.ts wants asked until it is answered, writes what it wants
// written, and picks up what a former primary of the shard left unfinished. Leaves the rules to
// saga.ts, claims to claim-desk.ts.

import type { Clock } from "../../lib/clock.ts";
import { isMailError, MailError } from "../../mail/errors.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import type { Epoch, Lsn, OpId, ShardId } from "../../mail/ids.ts";
import { pause } from "./calls.ts";
import type { ClaimDesk, ClaimTurn } from "./claim-desk.ts";
import { claimShard } from "./claims.ts";
import type { Claim } from "./claims.ts";
import type { DirectoryStore } from "./directory-store.ts";
import type { DirectoryLog } from "./log.ts";
import type { Order } from "./order-guard.ts";
import { startSaga, stepSaga } from "./saga.ts";
import type { Saga, SagaEffect, SagaEvent, SagaFailure, SagaRun } from "./saga.ts";
import { decodeSaga, encodeSaga } from "./saga-codec.ts";

/** The questions of a saga, each put once; the runner repeats them. */
export interface SagaQuestions {
  claim(
    saga: Saga,
    name: string,
    order: Order,
  ): Promise<{ taken: boolean; floor: number; lsn: Lsn }>;
  release(saga: Saga, name: string, floor: number, order: Order): Promise<{ lsn: Lsn }>;
  put(
    saga: Saga,
    floor: number,
  ): Promise<{ lsn: Lsn; floor: number; row: DirectoryRow | undefined }>;
  fence(saga: Saga): Promise<{ lsn: Lsn }>;
}

/** How a saga ended, and the places in the shards' logs behind which everyone knows it. */
export interface SagaOutcome {
  readonly failure: SagaFailure | undefined;
  readonly row: DirectoryRow | undefined;
  readonly touched: ReadonlyMap<ShardId, Lsn>;
}

export interface SagaRunnerOptions {
  readonly store: DirectoryStore;
  readonly desk: ClaimDesk;
  readonly questions: SagaQuestions;
  readonly shardCount: number;
  readonly clock: Clock;
  readonly log: DirectoryLog;
}

interface Running {
  readonly id: OpId;
  readonly epoch: Epoch;
  readonly outcome: Promise<SagaOutcome>;
}

interface Touched {
  readonly lsns: Map<ShardId, Lsn>;
  row: DirectoryRow | undefined;
}

const pieceClaims = 500;
/** Left-over sagas begun at one tick. */
const resumedPerTick = 256;

export class SagaRunner {
  readonly #options: SagaRunnerOptions;
  readonly #running = new Map<string, Running>();
  /** Claims that were applied with a task and are not known to run. */
  readonly #left = new Map<string, Claim & { readonly shard: ShardId }>();
  readonly #epochs = new Map<ShardId, Epoch>();
  readonly #stop = new AbortController();
  #orders = 0;

  constructor(options: SagaRunnerOptions) {
    this.#options = options;
    options.store.onChange(({ shard, claims }) => {
      for (const claim of claims) this.#applied(shard, claim);
    });
  }

  /** Sagas under way; a gauge. */
  get size(): number {
    return this.#running.size;
  }

  /** Carries out a saga whose claim was written in this turn. */
  begin(shard: ShardId, epoch: Epoch, saga: Saga, floor: number): Promise<SagaOutcome> {
    const key = keyOf(shard, saga.name);
    const known = this.#running.get(key);
    if (known?.id === saga.id && known.epoch === epoch) return known.outcome;
    this.#left.delete(key);
    const outcome = this.#drive(shard, epoch, saga, floor);
    const running = { id: saga.id, epoch, outcome };
    this.#running.set(key, running);
    const end = (): void => {
      if (this.#running.get(key) === running) this.#running.delete(key);
    };
    outcome.then(end, (error: unknown) => {
      end();
      this.#epochs.delete(shard); // Should this node serve again, its outbox is read anew.
      if (isMailError(error, "WRONG_NODE")) return; // The new primary goes on.
      this.#options.log.warn({ err: error, name: saga.name }, "account change was interrupted");
    });
    return outcome;
  }

  /** To be called every 250 ms or so: resumes what was left in shards that this node serves. */
  tick(): void {
    const { store, log } = this.#options;
    for (const shard of store.shards()) {
      const epoch = store.serving(shard);
      if (epoch === undefined) this.#epochs.delete(shard);
      else if (this.#epochs.get(shard) !== epoch) {
        this.#epochs.set(shard, epoch);
        this.#scan(shard).catch((error: unknown) => {
          this.#epochs.delete(shard); // The next tick tries again.
          log.warn({ err: error, shard }, "outbox could not be read");
        });
      }
    }
    let most = resumedPerTick;
    for (const [key, claim] of this.#left) {
      if (claim.task === undefined || store.serving(claim.shard) === undefined) continue;
      if (most-- === 0) break;
      this.#left.delete(key);
      this.#resume(claim.shard, claim.name);
    }
  }

  close(): void {
    this.#stop.abort();
  }

  #resume(shard: ShardId, name: string): void {
    const { desk, log } = this.#options;
    desk
      .turn(shard, name, async (turn) => {
        const { task } = turn.claim ?? {};
        if (turn.claim === undefined || task === undefined) return;
        const saga = decodeSaga(task);
        const known = this.#running.get(keyOf(shard, name));
        if (known?.id === saga.id && known.epoch === turn.epoch) return;
        log.info({ name, account: saga.account, kind: saga.work.kind }, "account change resumed");
        this.begin(shard, turn.epoch, saga, turn.claim.uidValidityFloor).catch(() => undefined);
        await Promise.resolve();
      })
      .catch((error: unknown) => {
        log.debug({ err: error, name }, "account change not resumed yet");
        this.#epochs.delete(shard); // Read the outbox again.
      });
  }

  async #scan(shard: ShardId): Promise<void> {
    let after: string | undefined = "";
    while (after !== undefined) {
      const claims: readonly Claim[] = await this.#options.store.claimsAfter(
        shard,
        after,
        pieceClaims,
      );
      for (const claim of claims) this.#applied(shard, claim);
      after = claims.length < pieceClaims ? undefined : claims.at(-1)?.name;
    }
  }

  #applied(shard: ShardId, claim: Claim): void {
    const key = keyOf(shard, claim.name);
    if (claim.task === undefined) this.#left.delete(key);
    else if (!this.#running.has(key)) this.#left.set(key, { ...claim, shard });
  }

  async #drive(home: ShardId, epoch: Epoch, saga: Saga, floor: number): Promise<SagaOutcome> {
    const touched: Touched = { lsns: new Map(), row: undefined };
    let [run, effects] = startSaga(saga, floor);
    let failure: SagaFailure | undefined;
    while (run.phase !== "done") {
      const asked = run;
      const events = await Promise.all(
        effects.map((effect) => this.#repeat(home, epoch, asked, effect, touched)),
      );
      const more: SagaEffect[] = [];
      for (const event of events) {
        const [next, follow] = stepSaga(run, event);
        run = next;
        more.push(...follow);
      }
      effects = more;
    }
    for (const effect of effects) if (effect.kind === "answer") failure = effect.failure;
    return { failure, row: touched.row, touched: touched.lsns };
  }

  /** Until it is answered, or this node no longer serves the shard in that epoch. */
  async #repeat(
    home: ShardId,
    epoch: Epoch,
    run: SagaRun,
    effect: SagaEffect,
    touched: Touched,
  ): Promise<SagaEvent> {
    const { clock, log, store } = this.#options;
    let pauseMs = 20;
    for (;;) {
      if (store.serving(home) !== epoch || this.#stop.signal.aborted) {
        throw new MailError({ code: "WRONG_NODE", shard: home });
      }
      try {
        return await this.#perform(home, epoch, run, effect, touched);
      } catch (error) {
        const failure = effect.kind === "put" ? lastingFailure(error) : undefined;
        if (failure !== undefined) return { kind: "refused", failure };
        log.debug({ err: error, name: run.saga.name, effect: effect.kind }, "saga step failed");
      }
      await pause(clock, pauseMs, this.#stop.signal);
      pauseMs = Math.min(2 * pauseMs, 1000);
    }
  }

  async #perform(
    home: ShardId,
    epoch: Epoch,
    { saga }: SagaRun,
    effect: SagaEffect,
    touched: Touched,
  ): Promise<SagaEvent> {
    const { questions, shardCount } = this.#options;
    const order: Order = { shard: home, epoch, number: ++this.#orders };
    switch (effect.kind) {
      case "claim": {
        const answer = await questions.claim(saga, effect.name, order);
        touch(touched, claimShard(effect.name, shardCount), answer.lsn);
        if (answer.taken) return { kind: "taken", name: effect.name };
        return { kind: "claimed", name: effect.name, floor: answer.floor };
      }
      case "release": {
        const { lsn } = await questions.release(saga, effect.name, effect.floor, order);
        touch(touched, claimShard(effect.name, shardCount), lsn);
        return { kind: "released", name: effect.name };
      }
      case "put": {
        const { lsn, floor, row } = await questions.put(saga, effect.floor);
        touch(touched, saga.shard, lsn);
        touched.row = row;
        const names = row === undefined ? [] : [row.name, ...row.aliases];
        return { kind: "put", floor, names };
      }
      case "fence": {
        const { lsn } = await questions.fence(saga);
        touch(touched, saga.shard, lsn);
        return { kind: "put", floor: 0, names: [] };
      }
      case "save":
        await this.#write(home, saga, touched, (claim) => ({
          ...claim,
          task: encodeSaga(effect.saga),
        }));
        return { kind: "saved" };
      case "finish":
        await this.#write(home, saga, touched, (claim) => ({
          ...claim,
          state: effect.release === undefined ? "confirmed" : "released",
          uidValidityFloor: Math.max(claim.uidValidityFloor, effect.release?.floor ?? 0),
          opId: saga.id,
          task: undefined,
        }));
        return { kind: "saved" };
      case "answer":
        return { kind: "saved" };
    }
  }

  /** Changes the claim while it still holds this saga; an earlier try may have got through. */
  async #write(
    home: ShardId,
    saga: Saga,
    touched: Touched,
    change: (claim: Claim) => Claim,
  ): Promise<void> {
    await this.#options.desk.turn(home, saga.name, async ({ claim, write }: ClaimTurn) => {
      if (claim?.task === undefined || decodeSaga(claim.task).id !== saga.id) {
        touch(touched, home, this.#options.store.appliedLsn(home));
        return;
      }
      const timeMs = this.#options.clock.nowMs();
      touch(touched, home, await write({ ...change(claim), timeMs }));
    });
  }
}

/** A refusal that a repetition would not change. */
function lastingFailure(error: unknown): SagaFailure | undefined {
  if (!isMailError(error)) return undefined;
  const { failure } = error;
  switch (failure.code) {
    case "CONFLICT":
    case "INVALID":
    case "NAME_TAKEN":
    case "NO_SUCH_ACCOUNT":
      return failure;
    default:
      return undefined;
  }
}

function touch(touched: Touched, shard: ShardId, lsn: Lsn): void {
  if (lsn > (touched.lsns.get(shard) ?? 0)) touched.lsns.set(shard, lsn);
}

function keyOf(shard: ShardId, name: string): string {
  return `${shard} ${name}`;
}
