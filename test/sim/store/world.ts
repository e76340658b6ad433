// A simulated cluster whose nodes run the real store and whose gateways run the real routed store. A
// pure function of its seed: after each event everything that it set going comes to rest.

import { setMaxListeners } from "node:events";
import { pino } from "pino";
import type { Logger } from "pino";
import { AssertionFailure } from "../../../src/lib/assert.ts";
import { onBackgroundFailure } from "../../../src/lib/background.ts";
import { isMailError } from "../../../src/mail/errors.ts";
import { makeAccountId, memberId, opId, shardId } from "../../../src/mail/ids.ts";
import type { MemberId, OpId, ShardId } from "../../../src/mail/ids.ts";
import { RoutedMailStore } from "../../../src/cluster/node/routed-mail-store.ts";
import type { KnownShards } from "../../../src/cluster/node/shard-table.ts";
import { decodeReports, failoverMethods } from "../../../src/cluster/node/failover-wire.ts";
import { positionOf } from "../../../src/cluster/protocol/replica-report.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { createAccount, firstMailboxes } from "../../../src/store/accounts.ts";
import { readShard } from "../../support/replicas.ts";
import { Cluster } from "../world/cluster.ts";
import type { Pause, RunOptions, RunResult } from "../world/cluster.ts";
import type { GatewayProcess } from "../world/gateway.ts";
import type { Machine } from "../world/machine.ts";
import { InvariantViolation } from "../world/violation.ts";
import { StoreClient } from "./client.ts";
import { clockOf } from "./clock.ts";
import { AccountLedger } from "./ledger.ts";
import { SimLinks } from "./links.ts";
import { StoreNode } from "./node.ts";
import type { StoreProcess } from "./node-process.ts";
import type { StorePlan } from "./plan.ts";

const retryMs = 2500;
const never = new AbortController().signal;
setMaxListeners(0, never);

export class StoreCluster extends Cluster {
  declare readonly plan: StorePlan;
  readonly nodes: readonly StoreNode[];
  accounts: readonly AccountLedger[] = [];
  acks = 0;
  reads = 0;
  /** Something was set going that is not at rest yet. */
  busy = false;
  #failure: Error | undefined;
  #flippedNode: StoreNode | undefined;
  readonly #gates = new Map<
    Machine,
    { readonly links: SimLinks; readonly store: RoutedMailStore }
  >();
  /** Hash of each entry that is committed somewhere. */
  readonly #committed = new Map<string, number>();

  constructor(plan: StorePlan, options: RunOptions) {
    super(plan, options);
    this.nodes = Array.from(
      { length: plan.nodes },
      (_, at) => new StoreNode(this, at, memberId(`n${at + 1}`), this.rate()),
    );
    this.connect();
  }

  async run(): Promise<void> {
    for (const node of this.nodes) await node.format();
    const story = this.story();
    for (let next = story.next(); next.done !== true; ) {
      next = story.next(await this.#runTo(next.value));
    }
  }

  async #runTo(pause: Pause): Promise<boolean> {
    const stops = this.stops(pause);
    for (let next = stops.next(); ; next = stops.next()) {
      if (next.done === true) return next.value;
      await this.schedule.runSettled(
        next.value,
        () => this.#settle(),
        (error) => this.caught(error),
      );
      this.#comparePrefixes();
    }
  }

  /** Without I/O everything but what waits for an event ends within a turn or two of the loop. */
  async #settle(): Promise<void> {
    while (this.busy) {
      this.busy = false;
      await turn();
      await turn();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** An invariant that was broken, or a bug of ours, in the middle of something. */
  failed(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
  }

  /** What nobody handles ends a process; one whose log has failed ends anyway. */
  caught(error: unknown): void {
    if (!String(error).includes("the log failed")) this.failed(error);
  }

  linksOf(machine: Machine): SimLinks | undefined {
    if (machine instanceof StoreNode) return machine.process?.links;
    return this.#gates.get(machine)?.links;
  }

  memberAt(index: number): MemberId | undefined {
    return (this.nodes[index] ?? this.gateways[index - this.nodes.length])?.member;
  }

  override nodeOf(member: MemberId): StoreNode | undefined {
    return this.nodes.find((node) => node.member === member);
  }

  makeClient(gateway: GatewayProcess): StoreClient {
    return new StoreClient(this, gateway, this.#gateOf(gateway).store);
  }

  loggerOf(name: string, isAlive: () => boolean): Logger {
    if (!this.traced) return silent;
    const write = (line: string) => {
      if (isAlive()) this.trace(() => `${name} log ${line.trim()}`);
    };
    return pino({ level: "info", base: null, timestamp: false }, { write });
  }

  /** A node that can't open its store is no node: an operator gives it an empty folder. */
  isDamaged(error: unknown): boolean {
    return isMailError(error, "DAMAGED") && this.#flippedNode !== undefined;
  }

  /** True when another node's disk has lied already: two at once are no single failure. */
  flipped(node: StoreNode): boolean {
    this.#flippedNode ??= node;
    this.#flippedNode.sound = false;
    return this.#flippedNode !== node;
  }

  /** I3: a node answers; nobody else would serve the shard at this instant. */
  answered(process: StoreProcess, method: string, head: unknown): void {
    if (!method.startsWith("mail.") || !Array.isArray(head)) return;
    const shard = Number(head[1]);
    for (const { process: other } of this.nodes) {
      if (other === undefined || other === process || other.life.stopped) continue;
      if (!other.serves(shard) || !process.serves(shard)) continue;
      this.failed(
        new InvariantViolation("I3", `${process.name} and ${other.name} both serve shard ${shard}`),
      );
    }
  }

  /** I10: a client has its answer; the change is on enough disks. */
  acked(id: OpId): void {
    this.acks += 1;
    const bytes = Buffer.from(id, "hex");
    let copies = 0;
    for (const { disk, rows, lost } of this.nodes) {
      for (const folder of [{ disk, rows }, ...lost]) {
        const inLog = [...folder.disk.durable()].some(([, contents]) => contents.includes(bytes));
        if (inLog || folder.rows.holds(bytes)) copies += 1;
      }
    }
    // With that rule broken a request has had another id before.
    if (copies >= this.plan.minCopies || this.broken === "dedupe") return;
    throw new InvariantViolation("I10", `operation ${id} is acknowledged with ${copies} copies`);
  }

  protected isWhole(shard: number): boolean {
    const config = this.coordinator.table.get(shard);
    if (config === undefined) return false;
    if (this.nodeOf(config.primary.node)?.process?.serves(shard) !== true) return false;
    return config.secondaries.some(({ node, full }) => {
      const epoch = this.nodeOf(node)?.process?.store?.journal.epochOf(config.shard);
      return full && epoch === config.epoch;
    });
  }

  protected override *prepare(): Generator<Pause, void, boolean> {
    const made: AccountLedger[] = [];
    const { shards, accountsPerShard } = this.plan;
    for (let at = 0; at < shards * accountsPerShard; at++) {
      const shard = shardId(at % shards);
      let done = false;
      const until = () => {
        if (done) return true;
        this.#create(shard, at).then(
          (account) => {
            if (account === undefined || done) return;
            done = true;
            made.push(account);
          },
          (error: unknown) => this.failed(error),
        );
        this.busy = true;
        return false;
      };
      if (!(yield { atMs: this.schedule.nowMs + 10_000, until })) {
        this.fail("I13", `shard ${shard} takes no account`);
      }
    }
    this.accounts = made;
  }

  /** The account, once its shard's primary serves. */
  async #create(shard: ShardId, at: number): Promise<AccountLedger | undefined> {
    const config = this.coordinator.table.get(shard);
    const process = config === undefined ? undefined : this.nodeOf(config.primary.node)?.process;
    if (process?.serves(shard) !== true || process.store === undefined) return undefined;
    const account = makeAccountId(shard, at + 1);
    const fields = { name: `u${at}@sim.test`, aliases: [], profile: {}, uidValidityFloor: 0 };
    const limits = { quotaBytes: 0, quotaMessages: 0, credentials: { hash: "" } };
    const change = { opId: opId((at + 1).toString(16).padStart(32, "a")), retry: true };
    const request = { ...change, shard, account, mailboxes: firstMailboxes, ...fields, ...limits };
    try {
      await createAccount(process.store.opened.engine, request, never);
      const mayLose = this.plan.faults.has("bitFlip");
      return new AccountLedger({ account, shard, credVersion: 1 }, mayLose);
    } catch (error) {
      if (!isMailError(error)) throw error;
      return undefined;
    }
  }

  /** I1: every account as its clients know it. I6: every full member has the same, byte for byte. */
  protected *atRest(): Generator<Pause, void, boolean> {
    const [gateway] = this.gateways;
    const { process } = gateway ?? {};
    if (process === undefined) return;
    const client = this.makeClient(process);
    yield* this.#finish("everything is read", async () => {
      for (const account of this.accounts) {
        if (!(await client.readAll(account))) return false;
      }
      return true;
    });
    yield* this.#finish("all copies are alike", () => this.#compareCopies());
  }

  *#finish(what: string, run: () => Promise<boolean>): Generator<Pause, void, boolean> {
    let state: "idle" | "runs" | "done" = "idle";
    const until = () => {
      if (state === "done") return true;
      if (state === "runs") return false;
      state = "runs";
      this.busy = true;
      run().then(
        (ok) => {
          state = ok ? "done" : "idle";
        },
        (error: unknown) => this.failed(error),
      );
      return false;
    };
    if (!(yield { atMs: this.schedule.nowMs + 15_000, until })) this.fail("I1", `not: ${what}`);
  }

  async #compareCopies(): Promise<boolean> {
    for (const config of this.coordinator.table.values()) {
      const { shard, primary, secondaries } = config;
      let first: { readonly node: MemberId; readonly lines: readonly string[] } | undefined;
      for (const { node } of [primary, ...secondaries.filter(({ full }) => full)]) {
        const store = this.nodeOf(node)?.process?.store;
        const state = store?.journal.replicas().find((one) => one.shard === shard)?.state;
        if (store === undefined || state === undefined) return false;
        const { commitMark, lastLsn } = positionOf(state);
        if (commitMark !== lastLsn) return false;
        const lines = await readShard(store.opened, shard, () => undefined);
        first ??= { node, lines };
        const count = Math.max(lines.length, first.lines.length);
        let at = 0;
        while (at < count && lines[at] === first.lines[at]) at += 1;
        if (at === count) continue;
        const what = `${first.lines[at] ?? "nothing"} and ${lines[at] ?? "nothing"}`;
        throw new InvariantViolation("I6", `${first.node} and ${node} have ${what}`);
      }
    }
    return true;
  }

  /** I6 while it goes on: whatever two copies call committed at one place is equal. */
  #comparePrefixes(): void {
    for (const { process, name } of this.nodes) {
      for (const { shard, state } of process?.store?.journal.replicas() ?? []) {
        if (state.damaged || state.copying || state.config === undefined) continue;
        const { commitMark, markHash } = positionOf(state);
        const place = `${shard} ${commitMark}`;
        const known = this.#committed.get(place);
        if (known !== undefined && known !== markHash) {
          this.fail("I6", `${name} has other content at lsn ${commitMark} of shard ${shard}`);
        }
        this.#committed.set(place, markHash);
      }
    }
  }

  #gateOf(gateway: GatewayProcess) {
    const known = this.#gates.get(gateway.machine);
    if (known?.links.life === gateway.life) return known;
    const links = new SimLinks(this, gateway.machine, gateway.life);
    gateway.onLink = (node, up) => links.changed(node, up);
    links.registry.onSend(failoverMethods.report, ({ head }) => {
      const { from, linked, reports } = decodeReports(head);
      if (reports.length > 0) gateway.report(from, { linked, reports });
    });
    const store = new RoutedMailStore({
      table: this.#tableOf(gateway),
      links,
      clock: clockOf(this, gateway.life),
      retryMs,
    });
    const gate = { links, store };
    this.#gates.set(gateway.machine, gate);
    return gate;
  }

  /** The table as a gateway knows it; in some seeds it sends requests to the wrong member. */
  #tableOf(gateway: GatewayProcess): KnownShards {
    const listeners = new Set<(config: ShardConfig) => void>();
    gateway.onTable = (config) => {
      this.busy = true;
      for (const listener of new Set(listeners)) listener(config);
    };
    return {
      get: (shard) => {
        const config = gateway.configOf(shard);
        const wrong = this.draws.chance(this.plan.wrongMember)
          ? this.draws.pick(this.nodes)
          : undefined;
        return config === undefined || wrong === undefined || this.quiet
          ? config
          : { ...config, primary: wrong.copy };
      },
      all: () => gateway.configs,
      onChange: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      refresh: () => {
        gateway.readTable();
        return Promise.resolve();
      },
    };
  }
}

const silent = pino({ level: "silent" });

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Runs one seed to its end. Never rejects for what the seed shows. */
export async function runStoreSeed(plan: StorePlan, options: RunOptions = {}): Promise<RunResult> {
  const world = new StoreCluster(plan, options);
  const onRejection = (error: unknown) => world.caught(error);
  process.on("unhandledRejection", onRejection);
  const deafen = onBackgroundFailure((name, error) => {
    world.trace(() => `${name} failed: ${String(error)}`);
    if (error instanceof AssertionFailure) world.failed(error);
  });
  let violation: RunResult["violation"];
  try {
    await world.run();
  } catch (error) {
    if (error instanceof InvariantViolation) {
      violation = { invariant: error.invariant, what: error.message };
    } else {
      const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
      violation = { invariant: "assert", what };
    }
    world.trace(() => `VIOLATION ${violation?.what ?? ""}`);
  } finally {
    process.off("unhandledRejection", onRejection);
    deafen();
  }
  const { acks, reads, configs, healedMs } = world;
  const { nowMs: virtualMs, ran: events } = world.schedule;
  return { seed: plan.seed, violation, virtualMs, events, acks, reads, configs, healedMs };
}
