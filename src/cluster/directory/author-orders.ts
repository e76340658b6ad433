// What gateways order at the shard of an account's primary name: create, change names, remove. Writes
// the saga into the name's claim, waits for its end and until every gateway knows. Leaves steps to
// saga-runner.ts; a change that outlives its author is finished all the same.

import type { Clock } from "../../lib/clock.ts";
import { withDeadline } from "../../lib/deadline.ts";
import type { Registration } from "../../mail/account.ts";
import { MailError } from "../../mail/errors.ts";
import { lsn as makeLsn } from "../../mail/ids.ts";
import type { AccountId, Epoch, Lsn, OpId, ShardId } from "../../mail/ids.ts";
import { asCount, asListOf, asOptional, asText } from "../node/decode.ts";
import { untilAnswered } from "./calls.ts";
import type { ClaimDesk } from "./claim-desk.ts";
import { claimShard, isHeld } from "./claims.ts";
import type { Claim } from "./claims.ts";
import { asGroup } from "./group-wire.ts";
import { everythingSoFar } from "./row-stream.ts";
import type { Saga, SagaWork } from "./saga.ts";
import { decodeSaga, encodeSaga } from "./saga-codec.ts";
import type { SagaOutcome, SagaRunner } from "./saga-runner.ts";
import {
  asAccount,
  asName,
  asProfile,
  decodePatch,
  decodeRegistration,
  encodeRow,
  method,
  nameField,
  opIdField,
  shardField,
} from "./wire.ts";
import type { Fields } from "./wire.ts";

/** A question to a shard's primary, wherever it is. */
export type Ask = (
  shard: ShardId,
  name: string,
  head: object,
  signal: AbortSignal,
) => Promise<Fields>;

export interface AuthorOrdersOptions {
  readonly desk: ClaimDesk;
  readonly runner: SagaRunner;
  readonly ask: Ask;
  readonly shardCount: number;
  readonly clock: Clock;
}

/** A promise in a box: a turn must end before its saga does. */
interface Begun {
  readonly outcome: Promise<SagaOutcome>;
}

interface Created {
  readonly row: unknown;
  readonly touched: ReadonlyMap<ShardId, Lsn>;
}

/** One question; sagas repeat theirs. */
export const questionMs = 5000;
/** How long an author's change may wait for shards to tell the gateways. */
const settleMs = 10_000;

export class AuthorOrders {
  readonly #options: AuthorOrdersOptions;

  constructor(options: AuthorOrdersOptions) {
    this.#options = options;
  }

  /**
   * The new account's row. Asked to leave the wait to the author (`later`), who makes many: with the
   * shards that have to be settled. @throws MailError NAME_TAKEN
   */
  async create(fields: Fields, signal: AbortSignal): Promise<unknown> {
    const { row, touched } = await this.#create(fields, signal);
    if (fields.get("later") === true) return { row, touched: [...touched] };
    await this.everywhere(touched, signal);
    return row;
  }

  async #create(fields: Fields, signal: AbortSignal): Promise<Created> {
    const id = opIdField(fields);
    const name = nameField(fields);
    const target = shardField(fields);
    const aliases = asListOf(fields.get("aliases"), "aliases", asName);
    const home = claimShard(name, this.#options.shardCount);
    const begun = await this.#options.desk.turn(
      home,
      name,
      async ({ claim, epoch, allot, write }) => {
        if (isHeld(claim)) return this.#again(home, epoch, claim, id, name);
        const registration = newRegistration(fields, allot(), name, aliases, this.#options.clock);
        const { account } = registration;
        const add = aliases.filter((alias) => alias !== name);
        const work: SagaWork = { kind: "create", registration };
        const saga: Saga = {
          id,
          name,
          account,
          shard: target,
          work,
          add: [...new Set(add)],
          drop: [],
          failure: undefined,
        };
        const floor = claim?.uidValidityFloor ?? 0;
        const timeMs = this.#options.clock.nowMs();
        const task = encodeSaga(saga);
        const state = "claimed";
        const opId = id;
        await write({ name, account, target, state, uidValidityFloor: floor, timeMs, opId, task });
        return { outcome: this.#options.runner.begin(home, epoch, saga, floor) };
      },
    );
    if ("row" in begun) return { row: begun.row, touched: new Map([[home, everythingSoFar]]) };
    const { row, touched } = await this.#done(begun, signal);
    if (row === undefined) throw new MailError({ code: "UNAVAILABLE", why: "outcome not known" });
    return { row: encodeRow(row), touched };
  }

  /** A create whose name is held: by this very operation, tried before, or by someone else. */
  async #again(
    home: ShardId,
    epoch: Epoch,
    claim: Claim,
    id: OpId,
    name: string,
  ): Promise<Begun | { readonly row: unknown }> {
    const saga = sagaOf(claim);
    if (saga?.id === id) {
      return { outcome: this.#options.runner.begin(home, epoch, saga, claim.uidValidityFloor) };
    }
    if (saga === undefined && claim.opId === id) {
      const head = { shard: claim.target, account: claim.account };
      const answer = await this.#question(claim.target, method.row, head);
      const row = answer.get("row");
      if (row !== undefined && row !== null) return { row };
    }
    throw new MailError({ code: "NAME_TAKEN", name });
  }

  /** The row after a change that adds or drops names. @throws MailError NAME_TAKEN, NO_SUCH_ACCOUNT, CONFLICT */
  async change(fields: Fields, signal: AbortSignal): Promise<unknown> {
    const name = nameField(fields);
    const patch = decodePatch(fields.get("patch"));
    const begun = await this.#begin(fields, async (account, shard) => {
      const now = await this.#registration(shard, account, name);
      const held = new Set([name, ...now.aliases]);
      const wanted = new Set([name, ...(patch.aliases ?? now.aliases)]);
      return {
        work: { kind: "change", patch },
        add: [...wanted].filter((alias) => !held.has(alias)),
        drop: [...held].filter((alias) => !wanted.has(alias)),
      };
    });
    const { row, touched } = await this.#done(begun, signal);
    if (row === undefined) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    await this.everywhere(await this.#withNames(row.aliases, touched, signal), signal);
    return encodeRow(row);
  }

  /**
   * Names that the account had before may come from a change whose author still waits, or from an
   * earlier try of this one: gateways must know their claims, too.
   */
  async #withNames(
    names: readonly string[],
    touched: ReadonlyMap<ShardId, Lsn>,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<ShardId, Lsn>> {
    const { clock, ask, shardCount } = this.#options;
    const all = new Map(touched);
    await withDeadline(clock, settleMs, [signal], async (within) => {
      for (const name of names) {
        const shard = claimShard(name, shardCount);
        if (all.has(shard)) continue;
        const find = (): Promise<Fields> => ask(shard, method.find, { shard, name }, within);
        const answer = await untilAnswered(clock, find, within);
        all.set(shard, makeLsn(asCount(answer.get("lsn"), "lsn")));
      }
    });
    return all;
  }

  /** @throws MailError NO_SUCH_ACCOUNT, CONFLICT */
  async remove(fields: Fields, signal: AbortSignal): Promise<null> {
    const name = nameField(fields);
    const begun = await this.#begin(fields, async (account, shard) => {
      const { aliases } = await this.#registration(shard, account, name);
      const drop = aliases.filter((alias) => alias !== name);
      return { work: { kind: "remove" }, add: [], drop };
    });
    const { touched } = await this.#done(begun, signal);
    await this.everywhere(touched, signal);
    return null;
  }

  /**
   * Begins a change of the account with this primary name, or attaches to it when it runs. A late try
   * must not reach another account that has the name since: the author names the one that is meant.
   */
  async #begin(
    fields: Fields,
    plan: (account: AccountId, shard: ShardId) => Promise<Pick<Saga, "work" | "add" | "drop">>,
  ): Promise<Begun> {
    const id = opIdField(fields);
    const name = nameField(fields);
    const meant = asOptional(fields.get("account"), "account", asAccount);
    const home = claimShard(name, this.#options.shardCount);
    return this.#options.desk.turn(home, name, async ({ claim, epoch, write }) => {
      // Removed by this very operation, tried before.
      if (claim?.state === "released" && claim.opId === id) return { outcome: doneBefore(home) };
      if (!isHeld(claim) || (meant !== undefined && claim.account !== meant)) {
        throw new MailError({ code: "NO_SUCH_ACCOUNT" });
      }
      const { account, target: shard, uidValidityFloor: floor } = claim;
      const running = sagaOf(claim);
      if (running?.id === id)
        return { outcome: this.#options.runner.begin(home, epoch, running, floor) };
      if (running !== undefined) {
        throw new MailError({ code: "CONFLICT", why: `another change of ${name} is under way` });
      }
      const planned = await plan(account, shard);
      const saga: Saga = { id, name, account, shard, ...planned, failure: undefined };
      await write({ ...claim, timeMs: this.#options.clock.nowMs(), task: encodeSaga(saga) });
      return { outcome: this.#options.runner.begin(home, epoch, saga, floor) };
    });
  }

  /** @throws MailError NO_SUCH_ACCOUNT when there is none, or `name` is only an alias of it. */
  async #registration(shard: ShardId, account: AccountId, name: string): Promise<Registration> {
    const answer = await this.#question(shard, method.details, { shard, account });
    const registration = decodeRegistration(answer.get("registration"));
    if (registration.name !== name) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    return registration;
  }

  async #done(begun: Begun, signal: AbortSignal): Promise<SagaOutcome> {
    const outcome = await orAborted(begun.outcome, signal);
    if (outcome.failure !== undefined) throw new MailError(outcome.failure);
    return outcome;
  }

  /** Resolves once every gateway knows what was written up to there, or can't be wrong about it. */
  async everywhere(touched: ReadonlyMap<ShardId, Lsn>, signal: AbortSignal): Promise<void> {
    const { clock, ask } = this.#options;
    await withDeadline(clock, settleMs, [signal], async (within) => {
      const settle = ([shard, lsn]: readonly [ShardId, Lsn]): Promise<unknown> => {
        const head = { shard, lsn };
        return untilAnswered(clock, () => ask(shard, method.settled, head, within), within);
      };
      await Promise.all([...touched].map(settle));
    });
  }

  #question(shard: ShardId, name: string, head: object): Promise<Fields> {
    const { clock, ask } = this.#options;
    return withDeadline(clock, questionMs, [], (signal) => ask(shard, name, head, signal));
  }
}

function doneBefore(home: ShardId): Promise<SagaOutcome> {
  const touched = new Map([[home, everythingSoFar]]);
  return Promise.resolve({ failure: undefined, row: undefined, touched });
}

function sagaOf(claim: Claim): Saga | undefined {
  return claim.task === undefined ? undefined : decodeSaga(claim.task);
}

function newRegistration(
  fields: Fields,
  account: AccountId,
  name: string,
  aliases: readonly string[],
  clock: Clock,
): Registration {
  const group = asOptional(fields.get("group"), "group", asGroup);
  return {
    account,
    name,
    aliases: [...new Set(aliases)].filter((alias) => alias !== name),
    state: "active",
    credentials: { hash: asText(fields.get("hash"), "hash", 8192) },
    credVersion: 1,
    userVersion: 1,
    quotaBytes: asCount(fields.get("quotaBytes"), "quota"),
    quotaMessages: asCount(fields.get("quotaMessages"), "quota"),
    profile: asProfile(fields.get("profile"), "profile"),
    createdMs: clock.nowMs(),
    ...(group === undefined ? {} : { group }),
  };
}

/** @throws MailError UNAVAILABLE: the change goes on without its author. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort: (() => void) | undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () =>
      reject(new MailError({ code: "UNAVAILABLE", why: "the change is not finished yet" }));
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (abort !== undefined) signal.removeEventListener("abort", abort);
  }
}
