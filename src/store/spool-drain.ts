// Delivers what waits in the spools of the shards that this member is primary of: as often as it
// takes, under the ids of the first try, then forgets it by an entry. Where shards are is the target's
// business, the cluster's routed store or the local one.

import { createHash } from "node:crypto";
import { background } from "../lib/background.ts";
import type { Timer } from "../lib/clock.ts";
import { crashPoint } from "../lib/crash-point.ts";
import { bounceMessage } from "../mail/bounce.ts";
import type { BounceReason } from "../mail/bounce.ts";
import type { DeliverOutcome, DeliverRequest, MessageSource } from "../mail/delivery.ts";
import { MailError } from "../mail/errors.ts";
import type { MailFailure } from "../mail/errors.ts";
import { deliveryId, opId } from "../mail/ids.ts";
import type { ShardId } from "../mail/ids.ts";
import type { MailStore } from "../mail/mail-store.ts";
import { MessageIndexer } from "../mail/mime/indexer.ts";
import type { Body } from "./bodies.ts";
import type { Engine } from "./engine.ts";
import { afterPrefix, spoolKey } from "./keyspace.ts";
import { blobPieces, readSpooledBody } from "./spool-body.ts";
import { readSpoolRow } from "./spool-rows.ts";
import type { SpoolRow } from "./spool-rows.ts";
import { unspool } from "./spool.ts";

/** What became of spooled mail, for log and metrics. */
export interface SpoolNews {
  readonly delivered: (row: SpoolRow) => void;
  /** It will never be delivered; `told`: a bounce message is in the sender's INBOX. */
  readonly failed: (row: SpoolRow, why: BounceReason, told: boolean) => void;
  /** A try failed; there will be others. */
  readonly delayed: (shard: ShardId, error: unknown) => void;
}

export interface SpoolDrainOptions {
  readonly engine: Engine;
  /** Finds the shards' primaries; gives up soon, as it is asked again. */
  readonly target: Pick<MailStore, "deliver" | "writeBlob">;
  /** Shards of which this member may be the primary. */
  readonly shards: () => Iterable<ShardId>;
  /** In bounce messages. */
  readonly hostName: string;
  readonly news: SpoolNews;
}

const tickMs = 200;
const longestPauseMs = 5000;
/** Deliveries to one shard at a time, once one of them has succeeded. */
const atOnceMax = 8;
const rowsPerPass = 1000;
/** RFC 5321 §4.5.4.1: give up after 4-5 days. */
const keptMs = 5 * 86_400_000;

/** Rows of one entry that go to one shard: one delivery. */
type Job = readonly [SpoolRow, ...SpoolRow[]];
type Done = { readonly lsn: number; readonly at: number }[];

interface Pace {
  notBeforeMs: number;
  pauseMs: number;
  running: boolean;
}

export class SpoolDrain {
  readonly #options: SpoolDrainOptions;
  readonly #stop = new AbortController();
  readonly #paces = new Map<ShardId, Pace>();
  readonly #passes = new Set<Promise<void>>();
  #timer: Timer | undefined;

  constructor(options: SpoolDrainOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = this.#options.engine.clock.after(tickMs, () => {
      this.#tick();
      if (!this.#stop.signal.aborted) this.start();
    });
  }

  /** Shards may have moved: what waits is tried now. */
  wake(): void {
    this.#paces.forEach((pace) => {
      pace.notBeforeMs = 0;
      pace.pauseMs = tickMs;
    });
  }

  /** Resolves when no delivery is under way any more. */
  async stop(): Promise<void> {
    this.#stop.abort(new MailError({ code: "UNAVAILABLE", why: "this node is stopping" }));
    this.#timer?.cancel();
    await Promise.all(this.#passes);
  }

  #tick(): void {
    const { engine, shards } = this.#options;
    const now = engine.clock.monotonicMs();
    for (const shard of shards()) {
      if (engine.spoolUsage.of(shard)?.recipients === 0 || !engine.journal.serves(shard)) continue;
      let pace = this.#paces.get(shard);
      if (pace === undefined) {
        pace = { notBeforeMs: 0, pauseMs: tickMs, running: false };
        this.#paces.set(shard, pace);
      }
      if (pace.running || now < pace.notBeforeMs) continue;
      pace.running = true;
      const pass = this.#pass(shard, pace).finally(() => this.#passes.delete(pass));
      this.#passes.add(pass);
      background("spool", pass);
    }
  }

  /** Tries everything that waits once; a shard that does not answer is left alone until the next pass. */
  async #pass(shard: ShardId, pace: Pace): Promise<void> {
    const { engine } = this.#options;
    let done = 0;
    try {
      if ((await engine.spoolUsage.count(shard)).recipients === 0) return;
      const jobs = await this.#jobs(shard);
      const results = await Promise.all(
        [...jobs.values()].map((toOne) => this.#deliverAll(shard, toOne)),
      );
      done = results.reduce((sum, count) => sum + count, 0);
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      this.#options.news.delayed(shard, error);
    } finally {
      pace.running = false;
      pace.pauseMs = done > 0 ? tickMs : Math.min(longestPauseMs, pace.pauseMs * 2);
      pace.notBeforeMs = engine.clock.monotonicMs() + (done > 0 ? 0 : pace.pauseMs);
    }
  }

  /** What waits, by the shard it goes to, oldest first. */
  async #jobs(shard: ShardId): Promise<ReadonlyMap<ShardId, Job[]>> {
    const jobs = new Map<ShardId, [SpoolRow, ...SpoolRow[]][]>();
    const prefix = spoolKey(shard);
    let left = rowsPerPass;
    for await (const rows of this.#options.engine.rows.range(prefix, afterPrefix(prefix))) {
      for (const [key, value] of rows) {
        const row = readSpoolRow(key, value);
        const toOne = jobs.get(row.shard) ?? [];
        jobs.set(row.shard, toOne);
        const last = toOne[toOne.length - 1];
        if (last?.[0].lsn === row.lsn) last.push(row);
        // A shard that is away must not keep others waiting: each gets its part of the pass.
        else if (toOne.length < rowsPerPass / 10) toOne.push([row]);
        left -= 1;
      }
      if (left <= 0 && jobs.size > 1) break;
    }
    return jobs;
  }

  /** Returns how many rows are done with. The first delivery shows whether the shard answers. */
  async #deliverAll(shard: ShardId, jobs: readonly Job[]): Promise<number> {
    const done: Done = [];
    try {
      const [first, ...others] = jobs;
      if (first === undefined || !(await this.#try(shard, first, done))) return done.length;
      let next = 0;
      const worker = async (): Promise<void> => {
        for (let job = others[next++]; job !== undefined; job = others[next++])
          if (!(await this.#try(shard, job, done))) return;
      };
      await Promise.all(Array.from({ length: atOnceMax }, worker));
      return done.length;
    } finally {
      if (done.length > 0) {
        crashPoint("spool.afterDeliver");
        await unspool(this.#options.engine, shard, done);
        crashPoint("spool.afterRemoval");
      }
    }
  }

  /** False when the target can't take mail now. */
  async #try(shard: ShardId, job: Job, done: Done): Promise<boolean> {
    const { engine, news } = this.#options;
    if (this.#stop.signal.aborted || !engine.journal.serves(shard)) return false;
    try {
      await this.#deliver(shard, job, done);
      return true;
    } catch (error) {
      if (!(error instanceof MailError)) throw error;
      news.delayed(job[0].shard, error);
      // One that can't be read or is not liked must not keep the others waiting.
      return !meansAway(error.failure);
    }
  }

  async #deliver(shard: ShardId, job: Job, done: Done): Promise<void> {
    const { engine, news } = this.#options;
    const [{ lsn, timeMs }] = job;
    const ageMs = engine.clock.nowMs() - timeMs;
    let body: Body = nothing;
    let outcomes: readonly DeliverOutcome[] = [];
    try {
      body = await readSpooledBody(engine, shard, lsn);
      outcomes = await this.#send(body, job);
    } catch (error) {
      if (ageMs <= keptMs || !(error instanceof MailError)) throw error;
    }
    let delayed: MailFailure | undefined;
    for (const [at, row] of job.entries()) {
      const outcome = outcomes[at];
      const why = reasonOf(outcome, ageMs);
      if (outcome?.ok === true) news.delivered(row);
      else if (why === undefined) {
        delayed = outcome?.failure ?? { code: "UNAVAILABLE", why: "no outcome" };
        continue;
      } else news.failed(row, why, await this.#bounce(row, why, body));
      done.push({ lsn: row.lsn, at: row.at });
    }
    if (delayed !== undefined) throw new MailError(delayed);
  }

  async #send(body: Body, job: Job): Promise<readonly DeliverOutcome[]> {
    const [{ opId: op, deliveryId: id, shard }] = job;
    const { source, index } = await this.#sourceFor(body, shard, id);
    const recipients = job.map(({ recipient }) => recipient);
    const change = { opId: op, retry: true, accepted: true };
    const request = { shard, deliveryId: id, recipients, source, index, ...change };
    crashPoint("spool.beforeDeliver");
    return this.#options.target.deliver(request, this.#stop.signal);
  }

  /** Bytes, or a blob that lies where it is delivered. */
  async #sourceFor(
    body: Body,
    to: ShardId,
    id: string,
  ): Promise<Pick<DeliverRequest, "source" | "index">> {
    const { engine, target } = this.#options;
    const indexer = new MessageIndexer();
    if (body.kind === "bytes") {
      indexer.push(Buffer.from(body.bytes));
      return { source: { kind: "bytes", bytes: body.bytes }, index: indexer.finish() };
    }
    const pieces = blobPieces(engine, body, (piece) => indexer.push(piece));
    const blob = await target.writeBlob(to, `${id}-s${to}`, pieces, this.#stop.signal);
    return { source: { kind: "blob", blob }, index: indexer.finish() };
  }

  /** Tells the sender, if it is one of ours. @throws MailError when that can't be done now */
  async #bounce(row: SpoolRow, why: BounceReason, body: Body): Promise<boolean> {
    const { engine, target, hostName } = this.#options;
    const { bounceTo, sender } = row;
    if (bounceTo === undefined || sender === "") return false;
    const original =
      body.kind === "bytes"
        ? body.bytes
        : await engine.bodies.readBlob(body.id, 0, Math.min(body.length, 64 * 1024));
    const bytes = bounceMessage({
      hostName,
      deliveryId: row.deliveryId,
      sender,
      recipient: row.recipient.address,
      why,
      nowMs: engine.clock.nowMs(),
      arrivedMs: row.timeMs,
      original,
    });
    const indexer = new MessageIndexer();
    indexer.push(bytes);
    const source: MessageSource = { kind: "bytes", bytes };
    // Its ids follow from the row's: after a crash in between it is the same bounce message.
    const id = deliveryId(`${row.deliveryId}-b${row.shard}-${row.recipient.account}`);
    const op = opId(createHash("sha256").update(id).digest("hex").slice(0, 32));
    const [outcome] = await target.deliver(
      {
        opId: op,
        retry: true,
        accepted: true,
        shard: bounceTo.shard,
        deliveryId: id,
        recipients: [{ account: bounceTo.account }],
        source,
        index: indexer.finish(),
      },
      this.#stop.signal,
    );
    if (outcome === undefined || outcome.ok) return outcome !== undefined;
    if (reasonOf(outcome, 0) === undefined) throw new MailError(outcome.failure);
    return false;
  }
}

const nothing: Body = { kind: "bytes", bytes: new Uint8Array(0) };

/** The shard can't take mail now, whichever message it is. */
function meansAway({ code }: MailFailure): boolean {
  return (
    code === "UNAVAILABLE" ||
    code === "WRONG_NODE" ||
    code === "REPLICA_UNREACHABLE" ||
    code === "BUSY" ||
    code === "DISK_FULL"
  );
}

/** Why a recipient will never have the message; undefined: it may yet. */
function reasonOf(outcome: DeliverOutcome | undefined, ageMs: number): BounceReason | undefined {
  if (outcome?.ok === true) return undefined;
  switch (outcome?.failure.code) {
    case "NO_SUCH_ACCOUNT":
      return { status: "5.1.1", text: "The account has been deleted" };
    case "ACCOUNT_DISABLED":
      return { status: "5.2.1", text: "The account has been disabled" };
    case "LIMIT":
      return { status: "5.2.2", text: "The mailbox can take no more messages" };
    default:
      return ageMs > keptMs
        ? { status: "5.4.7", text: "The mailbox could not be reached for five days" }
        : undefined;
  }
}
