// What the clients, faults and figures of a chaos run share: who is concerned by which fault, whose
// connection ended, what was measured. Running is chaos-run.ts's, judging chaos-report.ts's.

import { z } from "zod";
import { type OutageKind, Outages } from "./chaos-outage.ts";
import { seeded } from "./chaos.ts";
import type { DevCluster, DevClusterOptions } from "./dev-cluster.ts";
import type { Ledger } from "./ledger.ts";
import type { BadNetwork } from "./network/bad-network.ts";
import { until } from "./processes.ts";

export interface ChaosRunOptions {
  /** How long faults go on. */
  readonly seconds: number;
  readonly nodes: number;
  readonly gateways: number;
  readonly users: number;
  readonly senders: number;
  readonly readers: number;
  /** Over all senders. */
  readonly messagesPerSecond: number;
  readonly seed: number;
  readonly coordinator: "embedded" | "etcd";
  /** All limits on times are so much higher: for a machine that does other work. Default 1. */
  readonly roomForLoad?: number;
  /** `key=value` for every member. */
  readonly set?: readonly string[];
  /** Said as the run goes on. */
  readonly say: (line: string) => void;
}

/** What must hold besides: nothing lost, nothing twice, no violation, equal copies. */
export interface ChaosLimits {
  /** Connections that the cluster may close; faults that hit gateways allow for theirs. */
  readonly sessionsClosed: number;
  readonly unavailableP99Ms: number;
  readonly unavailableMaxMs: number;
  readonly fullWithinMs: number;
  /** From the end of a cut until a user is served, who waited for it. */
  readonly healedWithinMs?: number;
}

export interface Scenario {
  readonly name: string;
  readonly about: string;
  readonly limits: ChaosLimits;
  readonly cluster?: Partial<DevClusterOptions>;
  /** Members reach each other through relays: `context.network`. */
  readonly network?: boolean;
  /** Announcements are posted, read and flagged meanwhile. */
  readonly announcements?: boolean;
  /** Makes faults until `over` aborts, and lets everything be up again then. */
  run(context: ChaosContext, over: AbortSignal): Promise<void>;
}

/** What a client is doing: since when, unless it pauses. */
export interface Doing {
  sinceMs: number | undefined;
}

/** One scenario in a run, and what was measured while it went on. */
export class Phase {
  readonly scenario: Scenario;
  readonly outages = new Outages();
  /** What the scenario measured besides, and the most that it may be. */
  readonly figures = new Map<string, { readonly values: number[]; readonly most: number }>();
  readonly closedByUs: string[] = [];
  tookMs = 0;
  /** From the end of its faults until all shards were on two nodes. */
  fullMs = 0;
  /** The machine's load average. */
  load = 0;

  constructor(scenario: Scenario) {
    this.scenario = scenario;
  }
}

/** What clients and scenarios share in one run. */
export class ChaosContext {
  readonly cluster: DevCluster;
  readonly ledger: Ledger;
  readonly options: ChaosRunOptions;
  readonly #network: BadNetwork | undefined;
  #phase: Phase;
  readonly random: () => number;
  readonly counts = { tries: 0, reads: 0 };
  /** Of promises. */
  readonly violations: string[] = [];
  /** What took longer than anybody waits. */
  readonly late: string[] = [];
  /** Checks that the end of the run asks for besides; each returns what is wrong. */
  readonly checks: (() => Promise<readonly string[]>)[] = [];
  /** A client that was not served for so long gives up: too late. */
  readonly giveUpMs = 60_000;
  /** Gateway processes that a scenario has ended: their connections may close. */
  readonly #hit = new Set<number>();
  readonly #clients: Doing[] = [];
  #shardOfUser = new Map<string, number>();

  constructor(
    cluster: DevCluster,
    ledger: Ledger,
    options: ChaosRunOptions,
    network: BadNetwork | undefined,
    first: Phase,
  ) {
    this.#network = network;
    this.#phase = first;
    this.cluster = cluster;
    this.ledger = ledger;
    this.options = options;
    this.random = seeded(options.seed);
  }

  get network(): BadNetwork {
    if (this.#network === undefined) throw new Error("this scenario asked for no network");
    return this.#network;
  }

  /** The scenario that goes on now. */
  get phase(): Phase {
    return this.#phase;
  }

  begin(phase: Phase): void {
    this.#phase = phase;
  }

  get outages(): Outages {
    return this.#phase.outages;
  }

  /** One more measurement. `most`: what none may exceed. */
  figure(name: string, value: number, most = Infinity): void {
    const { figures } = this.#phase;
    const figure = figures.get(name) ?? { values: [], most };
    figure.values.push(value);
    figures.set(name, figure);
    this.options.say(`${name}: ${Math.round(value)}`);
  }

  violation(what: string): void {
    if (this.violations.length < 100) this.violations.push(what);
    this.options.say(`VIOLATION ${what}`);
  }

  tooLate(what: string): void {
    if (this.late.length < 100) this.late.push(what);
    this.options.say(`LATE ${what}`);
  }

  client(): Doing {
    const doing: Doing = { sinceMs: undefined };
    this.#clients.push(doing);
    return doing;
  }

  /** Resolves once nobody waits who waited at that time. */
  async nobodyWaitsSince(atMs: number): Promise<void> {
    await until("everybody to be served", this.giveUpMs, () =>
      this.#clients.some(({ sinceMs = Infinity }) => sinceMs <= atMs) ? undefined : true,
    );
  }

  /** Where a client goes whose gateway does not answer. */
  otherGateway(gateway: string): string {
    const ids = this.cluster.ports.gateways.map(({ id }) => id);
    return ids[(ids.indexOf(gateway) + 1) % ids.length] ?? gateway;
  }

  /** A connection to this gateway process ended, and the client did not end it. */
  sessionClosed(protocol: string, gateway: string, pid: number): void {
    if (!this.#hit.has(pid)) this.#phase.closedByUs.push(`${protocol} at ${gateway}`);
  }

  /** Messages to the user that were acknowledged so long ago and lie in the mailbox, not in the spool. */
  acknowledged(user: string, agoMs: number): readonly string[] {
    const untilMs = performance.now() - agoMs;
    const stored = this.ledger.inMailbox.get(user) ?? [];
    return stored.flatMap(({ id, atMs }) => (atMs <= untilMs ? [id] : []));
  }

  /**
   * Notes a fault that is made right after; it concerns users with a copy on one of `members`, or all.
   * A gateway among them may lose its connections.
   */
  async fault(
    what: string,
    members: readonly string[] | "everybody",
    kind: OutageKind = "fault",
  ): Promise<void> {
    const shards = await this.cluster.shards();
    for (const member of members === "everybody" ? [] : members) {
      if (member.startsWith("g")) this.#hit.add(this.cluster.pid(member));
    }
    const concerned = this.cluster.ports.users.filter(
      (user) =>
        members === "everybody" ||
        this.#nodesOf(user, shards).some((node) => members.includes(node)),
    );
    const unsafe = shards.filter(({ state }) => state !== "FULL").length;
    const where = `concerns ${concerned.length} users, ${unsafe} shards not whole`;
    this.outages.fault(`${what}, ${unsafe} shards not whole`, new Set(concerned), kind);
    this.options.say(`${what} (${where})`);
  }

  /** Nodes with a copy of some user's shard: mail is written there. */
  async nodesWithUsers(): Promise<readonly string[]> {
    const shards = await this.cluster.shards();
    const nodes = this.cluster.ports.users.flatMap((user) => this.#nodesOf(user, shards));
    return [...new Set(nodes)].toSorted();
  }

  #nodesOf(user: string, shards: Awaited<ReturnType<DevCluster["shards"]>>): readonly string[] {
    const shard = this.#shardOfUser.get(user);
    return shards.find((one) => one.shard === shard)?.nodes ?? [];
  }

  async learnUsers(): Promise<void> {
    const answer = await this.cluster.admin("GET", "/admin/v1/users");
    const { users } = userList.parse(JSON.parse(answer.text));
    this.#shardOfUser = new Map(users.map(({ name, shard }) => [name, shard]));
  }
}

const userList = z.object({ users: z.array(z.object({ name: z.string(), shard: z.number() })) });
