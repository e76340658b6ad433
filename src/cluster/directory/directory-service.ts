// The directory's methods on a mail node: claims and registrations of the shards it serves, the
// changes that gateways order, the streams that tell them. Authors are answered when their change is
// committed and every gateway knows it. Leaves steps to saga-runner.ts, streams to row-stream.ts.

import type { Clock, Timer } from "../../lib/clock.ts";
import { withDeadline } from "../../lib/deadline.ts";
import type { DirectoryRow, Registration } from "../../mail/account.ts";
import { MailError } from "../../mail/errors.ts";
import type { AccountId, Lsn, OpId, ShardId } from "../../mail/ids.ts";
import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Links, RpcRegistry } from "../link/rpc.ts";
import { asBoolean, asOptional } from "../node/decode.ts";
import { AuthorOrders, questionMs } from "./author-orders.ts";
import type { Ask } from "./author-orders.ts";
import { askPrimary } from "./calls.ts";
import type { Primaries } from "./calls.ts";
import { ClaimDesk, claimFor, releaseOf } from "./claim-desk.ts";
import { claimShard, isHeld } from "./claims.ts";
import type { DirectoryStore } from "./directory-store.ts";
import type { DirectoryLog } from "./log.ts";
import { OrderGuard } from "./order-guard.ts";
import type { Order } from "./order-guard.ts";
import { directoryRow, patched, tombstoneOf } from "./registration-patch.ts";
import type { RegistrationPatch } from "./registration-patch.ts";
import { RowStream } from "./row-stream.ts";
import type { Saga, SagaWork } from "./saga.ts";
import { decodeWork } from "./saga-codec.ts";
import { SagaRunner } from "./saga-runner.ts";
import type { SagaQuestions } from "./saga-runner.ts";
import { decodeRequest, decodeSeen, encodeItem } from "./stream-wire.ts";
import {
  accountField,
  countField,
  decodeOrder,
  decodePatch,
  decodeRow,
  encodeOrder,
  encodeRow,
  fieldsOf,
  method,
  nameField,
  opIdField,
  shardField,
} from "./wire.ts";
import type { Fields } from "./wire.ts";

export interface DirectoryServiceOptions {
  readonly store: DirectoryStore;
  readonly registry: RpcRegistry;
  readonly links: Links;
  readonly primaries: Primaries;
  readonly shardCount: number;
  readonly clock: Clock;
  readonly nextOpId: () => OpId;
  readonly log: DirectoryLog;
  /** The `directory.freshness` of the gateways. */
  readonly freshnessMs: number;
}

type Answer = unknown;
type Handler = (fields: Fields, signal: AbortSignal) => Promise<Answer>;

const tickMs = 250;
export class DirectoryService {
  readonly #options: DirectoryServiceOptions;
  readonly #desk: ClaimDesk;
  readonly #runner: SagaRunner;
  readonly #stream: RowStream;
  readonly #authors: AuthorOrders;
  readonly #guard = new OrderGuard();
  readonly #handlers = new Map<string, Handler>();
  #timer: Timer | undefined;

  /** Registers the methods; `start` begins the ticks. */
  constructor(options: DirectoryServiceOptions) {
    this.#options = options;
    const { store, clock, freshnessMs, nextOpId, shardCount, log } = options;
    this.#desk = new ClaimDesk(store, nextOpId);
    this.#stream = new RowStream({ store, clock, freshnessMs });
    const questions = this.#questions();
    const desk = this.#desk;
    this.#runner = new SagaRunner({ store, desk, questions, shardCount, clock, log });
    const ask: Ask = (shard, name, head, signal) => this.#ask(shard, name, head, signal);
    const runner = this.#runner;
    this.#authors = new AuthorOrders({ desk, runner, ask, shardCount, clock });
    this.#register();
  }

  /** Gauges: sagas under way, names waiting or shut, gateways that follow. */
  get figures(): { readonly sagas: number; readonly busyNames: number; readonly gateways: number } {
    return {
      sagas: this.#runner.size,
      busyNames: this.#desk.busy,
      gateways: this.#stream.sessions,
    };
  }

  start(): void {
    this.#runner.tick();
    this.#stream.tick();
    this.#timer = this.#options.clock.after(tickMs, () => this.start());
  }

  close(): void {
    this.#timer?.cancel();
    this.#runner.close();
    this.#stream.close();
  }

  #register(): void {
    const { registry } = this.#options;
    const add = (name: string, handler: Handler): void => {
      this.#handlers.set(name, handler);
      registry.onCall(name, async ({ head, signal }) => ({
        head: await handler(fieldsOf(head, name), signal),
      }));
    };
    add(method.create, (fields, signal) => this.#authors.create(fields, signal));
    add(method.change, (fields, signal) => this.#authors.change(fields, signal));
    add(method.remove, (fields, signal) => this.#authors.remove(fields, signal));
    add(method.patch, (fields, signal) => this.#patch(fields, signal));
    add(method.details, (fields) => this.#details(fields));
    add(method.row, (fields) => this.#row(fields));
    add(method.find, (fields) => this.#find(fields));
    add(method.claim, (fields) => this.#claim(fields));
    add(method.release, (fields) => this.#release(fields));
    add(method.put, (fields) => this.#put(fields));
    add(method.settled, async (fields, signal) => {
      const shard = this.#served(fields);
      await this.#stream.settled(shard, makeLsn(countField(fields, "lsn")), signal);
      return null;
    });
    const stream = this.#stream;
    registry.onStream(method.rows, async function* ({ from, head, signal }) {
      for await (const item of stream.rows(from, decodeRequest(head), signal)) {
        yield { head: encodeItem(item) };
      }
    });
    registry.onSend(method.seen, ({ from, head }) => stream.seen(from, decodeSeen(head)));
  }

  /** Asks the shard's primary, which may be this node. */
  async #ask(shard: ShardId, name: string, head: object, signal: AbortSignal): Promise<Fields> {
    const handler = this.#handlers.get(name);
    const answer =
      this.#options.store.serving(shard) !== undefined && handler !== undefined
        ? await handler(fieldsOf(head, name), signal)
        : await askPrimary(this.#options, shard, name, head, signal);
    return fieldsOf(answer ?? {}, name);
  }

  /** @throws MailError WRONG_NODE */
  #served(fields: Fields): ShardId {
    const shard = shardField(fields);
    const { store } = this.#options;
    if (store.serving(shard) === undefined) throw new MailError({ code: "WRONG_NODE", shard });
    return shard;
  }

  /** A plain change of one registration: password, state, quota, profile. */
  async #patch(fields: Fields, signal: AbortSignal): Promise<Answer> {
    const shard = this.#served(fields);
    const { store } = this.#options;
    const patch: RegistrationPatch = decodePatch(fields.get("patch"));
    if (patch.aliases !== undefined) {
      throw new MailError({
        code: "INVALID",
        why: "names are changed at the primary name's shard",
      });
    }
    const account = accountField(fields);
    const registration = await store.changeAccount(shard, opIdField(fields), account, (now) =>
      patched(now, patch),
    );
    await this.#authors.everywhere(new Map([[shard, store.appliedLsn(shard)]]), signal);
    return encodeRow(await this.#rowOf(shard, registration));
  }

  // What gateways ask.

  async #details(fields: Fields): Promise<Answer> {
    const shard = this.#served(fields);
    const account = accountField(fields);
    const { store } = this.#options;
    const registration = await store.registration(shard, account);
    if (registration === undefined || registration.state === "deleted") {
      throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    }
    const quota = await store.quota(shard, account);
    this.#served(fields); // Still: what was read may be a former primary's.
    return { registration, quota };
  }

  async #row(fields: Fields): Promise<Answer> {
    const shard = this.#served(fields);
    const registration = await this.#options.store.registration(shard, accountField(fields));
    const row = registration === undefined ? undefined : await this.#rowOf(shard, registration);
    this.#served(fields);
    return { row: row === undefined ? null : encodeRow(row) };
  }

  async #rowOf(shard: ShardId, registration: Registration): Promise<DirectoryRow> {
    if (registration.state === "deleted") return directoryRow(registration, shard, false);
    const quota = await this.#options.store.quota(shard, registration.account);
    const full =
      (quota.limitBytes > 0 && quota.usedBytes >= quota.limitBytes) ||
      (quota.limitMessages > 0 && quota.usedMessages >= quota.limitMessages);
    return directoryRow(registration, shard, full);
  }

  async #find(fields: Fields): Promise<Answer> {
    const shard = this.#served(fields);
    const { store } = this.#options;
    const claim = await store.claim(shard, nameField(fields));
    this.#served(fields);
    const lsn = store.appliedLsn(shard);
    return isHeld(claim) ? { lsn, account: claim.account, target: claim.target } : { lsn };
  }

  // What nodes ask each other in the course of a saga.

  async #claim(fields: Fields): Promise<Answer> {
    const shard = this.#served(fields);
    const name = nameField(fields);
    const account = accountField(fields);
    const target = shardField(fields, "target");
    const order = decodeOrder(fields.get("order"));
    const opId = opIdField(fields);
    return this.#desk.turn(shard, name, async ({ claim, write }) => {
      this.#inTurn(name, order);
      const { store, clock } = this.#options;
      const next = claimFor(claim, { name, account, target, opId }, clock.nowMs());
      const floor = claim?.uidValidityFloor ?? 0;
      if (next === "taken") return { taken: true, floor: 0, lsn: store.appliedLsn(shard) };
      const lsn = next === undefined ? store.appliedLsn(shard) : await write(next);
      return { taken: false, floor, lsn };
    });
  }

  async #release(fields: Fields): Promise<Answer> {
    const shard = this.#served(fields);
    const name = nameField(fields);
    const order = decodeOrder(fields.get("order"));
    const opId = opIdField(fields);
    return this.#desk.turn(shard, name, async ({ claim, write }) => {
      this.#inTurn(name, order);
      const { store, clock } = this.#options;
      const floor = countField(fields, "floor");
      const next = releaseOf(claim, accountField(fields), opId, floor, clock.nowMs());
      return { lsn: next === undefined ? store.appliedLsn(shard) : await write(next) };
    });
  }

  #inTurn(name: string, order: Order): void {
    if (!this.#guard.admit(name, order)) {
      throw new MailError({ code: "UNAVAILABLE", why: "overtaken by a later request" });
    }
  }

  async #put(fields: Fields): Promise<Answer> {
    const shard = this.#served(fields);
    const { store } = this.#options;
    const account = accountField(fields);
    const id = opIdField(fields);
    const floor = countField(fields, "floor");
    const work = decodeWork(fields.get("work"));
    switch (work.kind) {
      case "create": {
        await store.createAccount(shard, id, work.registration, floor);
        // It has no mail yet.
        const row = encodeRow(directoryRow(work.registration, shard, false));
        return { lsn: store.appliedLsn(shard), floor: 0, row };
      }
      case "change": {
        const now = await store.changeAccount(shard, id, account, (registration) =>
          patched(registration, work.patch),
        );
        const row = encodeRow(await this.#rowOf(shard, now));
        // Whoever gets a name that is dropped begins above what it has led to.
        const highest = await store.highestUidValidity(shard, account);
        return { lsn: store.appliedLsn(shard), floor: highest, row };
      }
      case "remove": {
        const known = await store.registration(shard, account);
        const fenced = known ?? fenceOf(account, nameField(fields), this.#options.clock);
        const tombstone = fenced.state === "deleted" ? fenced : tombstoneOf(fenced);
        const highest = await store.removeAccount(shard, this.#options.nextOpId(), tombstone);
        return { lsn: store.appliedLsn(shard), floor: highest, row: null };
      }
    }
  }

  #questions(): SagaQuestions {
    const { shardCount, clock } = this.#options;
    const ask = (shard: ShardId, name: string, head: object): Promise<Fields> =>
      withDeadline(clock, questionMs, [], (signal) => this.#ask(shard, name, head, signal));
    const lsnIn = (answer: Fields): Lsn => makeLsn(countField(answer, "lsn"));
    const put = async (saga: Saga, floor: number, work: SagaWork): Promise<Fields> => {
      const { shard, account, name, id: opId } = saga;
      return ask(shard, method.put, { shard, account, name, opId, floor, work });
    };
    return {
      claim: async ({ account, shard: target, id: opId }, name, order) => {
        const shard = claimShard(name, shardCount);
        const head = { shard, name, account, target, opId, order: encodeOrder(order) };
        const answer = await ask(shard, method.claim, head);
        const taken = asBoolean(answer.get("taken"), "taken");
        return { taken, floor: countField(answer, "floor"), lsn: lsnIn(answer) };
      },
      release: async ({ account, id: opId }, name, floor, order) => {
        const shard = claimShard(name, shardCount);
        const head = { shard, name, account, floor, opId, order: encodeOrder(order) };
        return { lsn: lsnIn(await ask(shard, method.release, head)) };
      },
      put: async (saga, floor) => {
        const answer = await put(saga, floor, saga.work);
        const row = asOptional(answer.get("row"), "row", decodeRow);
        return { lsn: lsnIn(answer), floor: countField(answer, "floor"), row };
      },
      fence: async (saga) => ({ lsn: lsnIn(await put(saga, 0, { kind: "remove" })) }),
    };
  }
}

/** Stands for an account that is never to be created. */
function fenceOf(account: AccountId, name: string, clock: Clock): Registration {
  return {
    account,
    name,
    aliases: [],
    state: "deleted",
    credentials: { hash: "" },
    credVersion: 1,
    userVersion: 1,
    quotaBytes: 0,
    quotaMessages: 0,
    profile: {},
    createdMs: clock.nowMs(),
  };
}
