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
import { claimShard } from "../../../src/cluster/directory/claims.ts";
import type { DirectoryStore } from "../../../src/cluster/directory/directory-store.ts";
import { createAccount, firstMailboxes } from "../../../src/store/accounts.ts";
import { Cluster } from "../world/cluster.ts";
import type { Client, Pause, RunOptions, RunResult } from "../world/cluster.ts";
import type { GatewayProcess } from "../world/gateway.ts";
import type { Machine } from "../world/machine.ts";
import { InvariantViolation } from "../world/violation.ts";
import { StoreClient } from "./client.ts";
import { compareCopies, comparePrefixes } from "./copies.ts";
import { Gate } from "./gate.ts";
import { GatewayDisk } from "./gateway-disk.ts";
import { AccountLedger } from "./ledger.ts";
import type { SimLinks } from "./links.ts";
import { NameLedger } from "./names.ts";
import { namesAtRest } from "./names-at-rest.ts";
import { aliasNames, Operator, primaryNames } from "./operator.ts";
import { StoreNode } from "./node.ts";
import type { StoreProcess } from "./node-process.ts";
import type { StorePlan } from "./plan.ts";

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
  readonly #gates = new Map<Machine, Gate>();
  /** What gateways keep of the directory. */
  readonly #files = new Map<Machine, GatewayDisk>();
  /** In seeds with a directory. */
  readonly names: NameLedger | undefined;
  /** Hash of each entry that is committed somewhere. */
  readonly #committed = new Map<string, number>();

  constructor(plan: StorePlan, options: RunOptions) {
    super(plan, options);
    if (plan.directory) this.names = new NameLedger([...primaryNames, ...aliasNames]);
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
      comparePrefixes(this, this.#committed);
      this.#lookUp();
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

  makeClient(gateway: GatewayProcess): Client {
    const gate = this.#gateOf(gateway);
    if (this.names !== undefined) return new Operator(this, this.names, gate);
    return new StoreClient(this, gateway, gate.store);
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

  isServed(shard: number): boolean {
    const node = this.coordinator.table.get(shard)?.primary.node;
    return node !== undefined && this.nodeOf(node)?.process?.serves(shard) === true;
  }

  isWhole(shard: number): boolean {
    const config = this.coordinator.table.get(shard);
    if (config === undefined || !this.isServed(shard)) return false;
    return config.secondaries.some(({ node, full }) => {
      const epoch = this.nodeOf(node)?.process?.store?.journal.epochOf(config.shard);
      return full && epoch === config.epoch;
    });
  }

  protected override *prepare(): Generator<Pause, void, boolean> {
    const made: AccountLedger[] = [];
    // With a directory accounts are made there.
    if (this.names !== undefined) return;
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
    if (this.names !== undefined) yield* this.#directoryAtRest(this.names);
    const client = new StoreClient(this, process, this.#gateOf(process).store);
    yield* this.#finish("everything is read", async () => {
      for (const account of this.accounts) {
        if (!(await client.readAll(account))) return false;
      }
      return true;
    });
    yield* this.#finish("all copies are alike", () => compareCopies(this));
  }

  /** I8: what was begun is ended, and all gateways have what the nodes have. */
  *#directoryAtRest(names: NameLedger): Generator<Pause, void, boolean> {
    const gates = [...this.#gates].flatMap(([{ name }, { identity }]) =>
      identity === undefined ? [] : [{ name, directory: identity.directory }],
    );
    const stores = () => this.#directoryStores();
    let why = "";
    yield* this.#finish(
      "the directory is the same everywhere",
      async () => {
        why = await namesAtRest(names, stores, gates, this.plan.shards);
        return why === "";
      },
      () => this.fail("I8", why),
    );
  }

  /** By shard, that of its primary. */
  #directoryStores(): readonly (DirectoryStore | undefined)[] {
    return Array.from({ length: this.plan.shards }, (_, shard) => {
      const config = this.coordinator.table.get(shard);
      const process = config === undefined ? undefined : this.nodeOf(config.primary.node)?.process;
      return process?.serves(shard) === true ? process.names : undefined;
    });
  }

  *#finish(
    what: string,
    run: () => Promise<boolean>,
    failed = () => this.fail("I1", `not: ${what}`),
  ): Generator<Pause, void, boolean> {
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
    if (!(yield { atMs: this.schedule.nowMs + 15_000, until })) failed();
  }

  #gateOf(gateway: GatewayProcess): Gate {
    const known = this.#gates.get(gateway.machine);
    if (known?.links.life === gateway.life) return known;
    const gate = new Gate(this, gateway);
    this.#gates.set(gateway.machine, gate);
    if (this.names !== undefined) {
      this.busy = true;
      gate.open(this.#filesOf(gateway.machine)).catch((error: unknown) => this.failed(error));
    }
    return gate;
  }

  #filesOf(machine: Machine): GatewayDisk {
    let files = this.#files.get(machine);
    if (files === undefined) {
      files = new GatewayDisk(this.broken === "directoryPower");
      this.#files.set(machine, files);
    }
    return files;
  }

  /** Its directory is kept, or what a power cut left of it, or nothing. */
  override gatewayEnded(gateway: Machine, isPowerCut: boolean): void {
    const files = this.#files.get(gateway);
    const isWiped = files !== undefined && this.draws.chance(0.2);
    files?.crash(isPowerCut, this.draws);
    if (isWiped) files.wipe();
    if (isWiped || isPowerCut) this.names?.forget(gateway);
  }

  /** I8: what each gateway says of each name. */
  #lookUp(): void {
    const { names, broken } = this;
    if (names === undefined) return;
    for (const [machine, { identity, links }] of this.#gates) {
      if (identity === undefined || !links.life.alive || links.life.stopped) continue;
      const { directory } = identity;
      for (const name of names.all) {
        const said = directory.lookupNow(name);
        const found = said.kind === "unsure" && broken === "denyUnsure" ? denied : said;
        const isNameFresh = directory.isFresh(claimShard(name, this.plan.shards));
        const isRowFresh = found.kind === "found" && directory.isFresh(found.row.shard);
        names.looked(machine, name, found, { name: isNameFresh, row: isRowFresh });
      }
    }
  }
}

const denied = { kind: "none" } as const;
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
