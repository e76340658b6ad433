// Two copies of a shard compared, so that what one of them has lost or never had shows although all its
// checksums are right: a secondary asks its primary for digests and sums as its scrubber reads. What they
// are taken from is store/shard-digest.ts and store/body-sums.ts; frames are copy-compare-wire.ts.

import type { Logger } from "pino";
import type { Clock } from "../../lib/clock.ts";
import { MailError, isMailError } from "../../mail/errors.ts";
import { accountId } from "../../mail/ids.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import { bodySums } from "../../store/body-sums.ts";
import type { OpenedStore } from "../../store/open-store.ts";
import { appliedAtLeast, soundCopy } from "../../store/repair-source.ts";
import type { CopyComparison, NamedSum } from "../../store/scrubber.ts";
import { digestPage, lastUnit, shardUnit } from "../../store/shard-digest.ts";
import type { DigestPage, UnitDigest } from "../../store/shard-digest.ts";
import type { Links, RpcRegistry } from "../link/rpc.ts";
import {
  compareMethods,
  decodeSumsAnswer,
  decodeSumsRequest,
  decodeUnitsAnswer,
  decodeUnitsRequest,
  encodeSumsAnswer,
  encodeSumsRequest,
  encodeUnitsAnswer,
  encodeUnitsRequest,
} from "./copy-compare-wire.ts";

export interface CopyCompareOptions {
  readonly opened: Pick<OpenedStore, "engine" | "log" | "repairs">;
  readonly links: Links;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The primary of a shard of which this node is a full secondary. */
  readonly primaryOf: (shard: ShardId) => MemberId | undefined;
  /** Two copies differ, and which one is right can't be told. */
  readonly differ: (shard: ShardId) => void;
}

export interface CompareFigures {
  /** Accounts, and shards as wholes. */
  readonly units: number;
  readonly bodies: number;
  /** Differences found, of units and bodies. */
  readonly differing: number;
  /** Of these, put right from the other copy. */
  readonly mended: number;
  /** Not compared: the primary could not be asked, or the account changed all the time. */
  readonly skipped: number;
}

const bodiesMs = 60_000;
/** An account may have a million messages. */
const unitsMs = 600_000;
const triesMax = 4;
/** So many of a page are looked at more closely; a page full of differences is one matter. */
const closeLooksMax = 50;

export class CopyCompare implements CopyComparison {
  readonly #options: CopyCompareOptions;
  readonly #stop = new AbortController();
  readonly #figures = { units: 0, bodies: 0, differing: 0, mended: 0, skipped: 0 };
  /** One answer at a time: reading for others must not slow mail. */
  #answering: Promise<unknown> = Promise.resolve();

  constructor(options: CopyCompareOptions) {
    this.#options = options;
  }

  get figures(): CompareFigures {
    return { ...this.#figures };
  }

  /** Call before links are accepted. */
  register(registry: RpcRegistry): void {
    registry.onCall(compareMethods.units, ({ head, signal }) =>
      this.#oneByOne(async () => {
        const { shard, atLeast, ...range } = decodeUnitsRequest(head);
        const { opened, clock } = this.#options;
        await appliedAtLeast({ log: opened.log, clock }, shard, atLeast, signal);
        const page = await this.#page(shard, range, () => {
          signal.throwIfAborted();
          return Promise.resolve();
        });
        // What is missing here is fetched from whoever asks, and the next comparison finds it.
        for (const key of page.missing) await opened.repairs.row(key);
        return { head: encodeUnitsAnswer(page) };
      }),
    );
    registry.onCall(compareMethods.bodies, ({ head }) =>
      this.#oneByOne(async () => {
        const { shard, ids } = decodeSumsRequest(head);
        const { engine, log } = this.#options.opened;
        soundCopy(log, shard);
        return { head: encodeSumsAnswer(await bodySums({ rows: engine.rows, log }, ids)) };
      }),
    );
  }

  close(): void {
    this.#stop.abort(new MailError({ code: "UNAVAILABLE", why: "this node is stopping" }));
  }

  async bodies(sums: readonly NamedSum[]): Promise<void> {
    for (const [shard, ours] of byShard(sums)) {
      const primary = this.#options.primaryOf(shard);
      if (primary === undefined) continue;
      await this.#orSkip(shard, ours.length, async () => {
        const { links } = this.#options;
        const head = encodeSumsRequest({ shard, ids: ours.map(({ id }) => id) });
        const options = { signal: this.#stop.signal, deadlineMs: bodiesMs };
        const reply = await links.peer(primary).call(compareMethods.bodies, head, options);
        const theirs = decodeSumsAnswer(reply.head, ours.length);
        for (const [at, { id, length, sum }] of ours.entries()) {
          const other = theirs[at];
          // Not there any more, or damaged: its own node sees to that.
          if (other === undefined) continue;
          this.#figures.bodies++;
          if (other.length === length && other.sum === sum) continue;
          this.#tell(shard, { body: `${id.lsn} ${id.part}` });
        }
      });
    }
  }

  async accounts(pace: (bytes: number) => Promise<void>, signal: AbortSignal): Promise<void> {
    for (const [shard, { lastLsn, damaged }] of this.#options.opened.log.shards) {
      if (lastLsn === 0 || damaged) continue;
      for (let after = shardUnit - 1; after < lastUnit; ) {
        signal.throwIfAborted();
        const primary = this.#options.primaryOf(shard);
        if (primary === undefined) break;
        const done = await this.#orSkip(shard, 1, async () => {
          after = await this.#compareFrom(shard, primary, after, pace);
        });
        if (!done) break;
      }
    }
  }

  /** One page. @returns the unit up to which it reached */
  async #compareFrom(
    shard: ShardId,
    primary: MemberId,
    after: number,
    pace: (bytes: number) => Promise<void>,
  ): Promise<number> {
    const ours = await this.#mendedPage(shard, { after, through: lastUnit }, pace);
    const { through } = ours;
    const theirs = await this.#ask(primary, shard, ours, { after, through });
    const units = new Set([...ours.units, ...theirs.units].map(({ unit }) => unit));
    this.#figures.units += units.size;
    const unequal = [...units].filter((unit) => !isEqual(unitOf(ours, unit), unitOf(theirs, unit)));
    for (const unit of unequal.slice(0, closeLooksMax))
      await this.#lookAt(shard, primary, unit, unitOf(ours, unit), pace);
    this.#figures.skipped += Math.max(0, unequal.length - closeLooksMax);
    return through;
  }

  /**
   * Two digests differ: because the account was changed between them, or because the copies differ. What
   * was the same here before and after the other's entry was so at that entry, too.
   */
  async #lookAt(
    shard: ShardId,
    primary: MemberId,
    unit: number,
    first: UnitDigest | undefined,
    pace: (bytes: number) => Promise<void>,
  ): Promise<void> {
    const { log } = this.#options.opened;
    const { clock } = this.#options;
    const range = { after: unit - 1, through: unit };
    let before = first;
    let mended = false;
    for (let tries = 0; tries < triesMax; tries++) {
      const theirs = await this.#ask(primary, shard, { lsn: log.state(shard).applied }, range);
      await appliedAtLeast({ log, clock }, shard, theirs.lsn, this.#stop.signal);
      const after = unitOf(await this.#mendedPage(shard, range, pace), unit);
      const theirUnit = unitOf(theirs, unit);
      if (isEqual(after, theirUnit)) {
        if (mended) this.#tellMended(shard, unit);
        return;
      }
      if (isEqual(before, after)) {
        // Theirs adds up and ours does not: ours is the bad one.
        const isOurs = after?.sound !== true && theirUnit?.sound === true && unit !== shardUnit;
        if (isOurs && !mended) mended = await this.#mend(shard, unit);
        if (mended) continue;
        this.#tell(shard, { unit, ours: soundness(after), theirs: soundness(theirUnit) });
        return;
      }
      before = after;
    }
    if (mended) this.#tell(shard, { unit, ours: "mended, and still another" });
    else this.#figures.skipped++;
  }

  async #mend(shard: ShardId, unit: number): Promise<boolean> {
    const outcome = await this.#options.opened.repairs.account(shard, accountId(unit));
    return outcome === "repaired";
  }

  async #ask(
    primary: MemberId,
    shard: ShardId,
    { lsn: atLeast }: Pick<DigestPage, "lsn">,
    range: { readonly after: number; readonly through: number },
  ): Promise<Pick<DigestPage, "lsn" | "units">> {
    const head = encodeUnitsRequest({ shard, atLeast, ...range });
    const options = { signal: this.#stop.signal, deadlineMs: unitsMs };
    const reply = await this.#options.links.peer(primary).call(compareMethods.units, head, options);
    return decodeUnitsAnswer(reply.head);
  }

  /** Rows that should be there, and are not, are fetched one by one. */
  async #mendedPage(
    shard: ShardId,
    range: { readonly after: number; readonly through: number },
    pace: (bytes: number) => Promise<void>,
  ): Promise<DigestPage> {
    for (let tries = 0; ; tries++) {
      const page = await this.#page(shard, range, pace);
      let mended = 0;
      for (const key of tries < triesMax ? page.missing : [])
        if ((await this.#options.opened.repairs.row(key)) === "repaired") mended++;
      if (mended === 0) return page;
    }
  }

  #page(
    shard: ShardId,
    range: { readonly after: number; readonly through: number },
    pace: (bytes: number) => Promise<void>,
  ): Promise<DigestPage> {
    const { engine, log } = this.#options.opened;
    return digestPage({ rows: engine.rows, log }, shard, range, pace);
  }

  #tell(shard: ShardId, facts: Readonly<Record<string, string | number>>): void {
    this.#figures.differing++;
    this.#options.logger.error({ shard, ...facts }, "copies differ");
    this.#options.differ(shard);
  }

  #tellMended(shard: ShardId, account: number): void {
    this.#figures.differing++;
    this.#figures.mended++;
    this.#options.logger.warn({ shard, account }, "copies differed, mended from the other");
  }

  /** False when it could not be done now: the next pass comes. */
  async #orSkip(shard: ShardId, count: number, compare: () => Promise<void>): Promise<boolean> {
    try {
      await compare();
      return true;
    } catch (error) {
      if (!isMailError(error)) throw error;
      this.#figures.skipped += count;
      this.#options.logger.debug({ shard, err: error }, "copies not compared");
      return false;
    }
  }

  #oneByOne<T>(answer: () => Promise<T>): Promise<T> {
    const done = this.#answering.then(answer);
    this.#answering = done.catch(() => undefined);
    return done;
  }
}

function unitOf(page: Pick<DigestPage, "units">, unit: number): UnitDigest | undefined {
  return page.units.find((one) => one.unit === unit);
}

function soundness(unit: UnitDigest | undefined): string {
  if (unit === undefined) return "missing";
  return unit.sound ? "adds up" : "does not add up";
}

/** What does not add up on both is as equal as can be: their own checks tell it. */
function isEqual(a: UnitDigest | undefined, b: UnitDigest | undefined): boolean {
  return a?.digest === b?.digest && a?.sound === b?.sound;
}

function byShard(sums: readonly NamedSum[]): ReadonlyMap<ShardId, readonly NamedSum[]> {
  const shards = new Map<ShardId, NamedSum[]>();
  for (const sum of sums) {
    const list = shards.get(sum.id.shard);
    if (list === undefined) shards.set(sum.id.shard, [sum]);
    else list.push(sum);
  }
  return shards;
}
