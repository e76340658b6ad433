// A mail node, put together: store, replicated journal, links, mail service, presence. What is asked
// of it goes through its links only; the directory's services are registered by the caller.

import type { Timer } from "../../lib/clock.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import { MailError } from "../../mail/errors.ts";
import type { OpenedStore } from "../../store/open-store.ts";
import type { RpcRegistry } from "../link/rpc.ts";
import { bannedKey, bannedText } from "./banned-stores.ts";
import { ClusterClient } from "./cluster-client.ts";
import type { CompareFigures } from "./copy-compare.ts";
import type { CopyFigures } from "./copy-service.ts";
import type { CutFigures } from "./cut-files.ts";
import { answerCopyFigures } from "./copy-watch.ts";
import { DiskLevels } from "./disk-levels.ts";
import { FailoverMember } from "./failover-member.ts";
import { Health } from "./health.ts";
import type { Ailment } from "./health.ts";
import { encodeLoad, LoadMeter } from "./load-figures.ts";
import { MailService } from "./mail-service.ts";
import { openNodeStore, secondariesOf } from "./node-store.ts";
import type { NodeStore, NodeStoreOptions } from "./node-store.ts";
import type { ReplicatedJournal } from "./replicated-journal.ts";
import { Renewals } from "./renewals.ts";
import { letGo } from "./planned-stop.ts";
import { answerInspect } from "./shard-inspect.ts";
import { KeyFollower } from "./follow-keys.ts";
import { NodeSpool } from "./spool-service.ts";
import type { SpoolFigures } from "./spool-service.ts";

export interface MailNodeOptions extends NodeStoreOptions {
  /** Registers further methods (the directory's), before links are accepted. */
  readonly register?: (registry: RpcRegistry, node: NodeParts) => void;
  /** In bounce messages; the member's id when absent. */
  readonly hostName?: string;
}

/** What services of this node are built on. */
export interface NodeParts {
  readonly cluster: ClusterClient;
  readonly opened: OpenedStore;
  readonly journal: ReplicatedJournal;
}

const drainMs = 5000;
const vitalsEveryMs = 1000;
/** A disk that became slow is to be told within 4 s: 3 of them make it unwell. */
const judgeEveryMs = 250;
const emptySpool: SpoolFigures = { recipients: 0, bytes: 0, delivered: 0, failed: 0, untold: 0 };

export class MailNode {
  readonly cluster: ClusterClient;
  readonly opened: OpenedStore;
  readonly journal: ReplicatedJournal;
  readonly #store: NodeStore;
  #spool: NodeSpool | undefined;
  readonly #stop = new AbortController();
  readonly #failover: FailoverMember;
  /** It lets go of its shards. */
  #leaving = false;
  #vitals: Timer | undefined;
  #judging: Timer | undefined;
  readonly #health = new Health();
  #ailments: readonly Ailment[] = [];
  #judgedMs = 0;

  private constructor(cluster: ClusterClient, store: NodeStore) {
    const { opened, journal } = store;
    this.cluster = cluster;
    this.opened = opened;
    this.journal = journal;
    this.#store = store;
    const { links, options } = cluster;
    const { clock, member: node } = options;
    const membersOf = (role: "gateway" | "node") => (): readonly MemberId[] =>
      cluster.members
        .all()
        .flatMap((one) => (one.role === role && one.member !== node ? [one.member] : []));
    this.#failover = new FailoverMember({
      me: { node, store: opened.storeId },
      target: journal,
      links,
      learn: (config) => {
        if (cluster.isReady) cluster.shards.learn(config);
      },
      clock,
      gateways: membersOf("gateway"),
      nodes: membersOf("node"),
      degraded: () => this.#leaving || this.#ailments.length > 0,
      stopping: () => this.#leaving,
      recovering: () => !this.#leaving && this.#health.isCalm,
    });
  }

  /**
   * Opens the store, joins the cluster and serves what the shard table gives this node. Waits for
   * the coordinator until `signal` aborts. @throws what openStore and listening throw.
   */
  static async start(options: MailNodeOptions, signal: AbortSignal): Promise<MailNode> {
    const cluster = new ClusterClient(options, "node");
    let node: MailNode | undefined;
    try {
      await cluster.join(signal);
      node = new MailNode(cluster, await openNodeStore(options, cluster));
      await node.#serve(options, signal);
      return node;
    } catch (error) {
      await (node === undefined ? cluster.close() : node.abandon());
      throw error;
    }
  }

  get member(): MemberId {
    return this.cluster.options.member;
  }

  get spool(): SpoolFigures {
    return this.#spool?.figures ?? emptySpool;
  }

  /**
   * Lets go of its shards, takes no more changes, lets those under way be committed, then closes
   * everything, store last.
   */
  async stop(): Promise<void> {
    const { clock } = this.cluster.options;
    await this.#letGo();
    const limit = new AbortController();
    const timer = clock.after(drainMs, () => limit.abort());
    await this.journal.drain(limit.signal);
    timer.cancel();
    await this.abandon();
  }

  /** As `stop`, without waiting for changes under way: their outcome stays unknown to those who asked. */
  async abandon(): Promise<void> {
    this.#stop.abort();
    this.#vitals?.cancel();
    this.#judging?.cancel();
    this.#failover.close();
    // Its deliveries end when the journal lets their waiters go.
    const spoolStopped = this.#spool?.stop();
    this.#store.copies.close();
    this.#store.cuts.close();
    this.#store.repairs.close();
    this.#store.compare.close();
    this.#store.shelf.close();
    this.journal.close();
    await this.cluster.close();
    await spoolStopped;
    await this.opened.close();
  }

  async #serve(options: MailNodeOptions, signal: AbortSignal): Promise<void> {
    const { cluster, opened, journal } = this;
    const test = {
      serves: (shard: ShardId) => journal.answers(shard),
      epochOf: (shard: ShardId) => journal.epochOf(shard),
    };
    new MailService(opened.store, test).register(cluster.registry);
    const me = { node: this.member, store: opened.storeId };
    if (cluster.wireVersion >= 2) answerInspect(cluster.registry, me, journal, opened.log);
    options.register?.(cluster.registry, this);
    this.#failover.register(cluster.registry);
    if (cluster.wireVersion >= 2) answerCopyFigures(cluster.registry, () => this.copies);
    await this.#refuseIfBanned(options);
    const levels = new DiskLevels(
      {
        room: opened.room,
        links: cluster.links,
        clock: options.clock,
        neighbours: () => this.#neighbours(),
        secondariesOf: (shard) => secondariesOf(journal, shard),
      },
      cluster.registry,
    );
    this.#stop.signal.addEventListener("abort", () => levels.close(), { once: true });
    const meter = new LoadMeter(options.clock, () => this.#sample());
    await cluster.listen(() => encodeLoad(meter.figures()));
    await cluster.announce({ store: opened.storeId }, signal);
    levels.start();
    journal.onSynced = (tookMs) => this.#health.synced(tookMs, options.clock.monotonicMs());
    journal.onRefresh = () => {
      cluster.shards.refresh().then(
        () => undefined,
        (error: unknown) => options.logger.error({ err: error }, "shard table not refreshed"),
      );
    };
    cluster.shards.onChange((config) => journal.setConfig(config));
    for (const config of cluster.shards.all()) journal.setConfig(config);
    this.#failover.start();
    this.#tellVitals();
    this.#judge();
    const { clock, logger, random, hostName = this.member } = options;
    const { shards: table, links, coordinator } = cluster;
    const { engine } = opened;
    const renewals = new Renewals({
      me,
      journal,
      engine,
      coordinator,
      table,
      clock,
      random,
      logger,
    });
    renewals.start();
    this.#stop.signal.addEventListener("abort", () => renewals.close(), { once: true });
    this.#spool = new NodeSpool({ opened, table, links, clock, logger, hostName });
  }

  /**
   * A copy of ours was replaced by force: this data folder is not used any more, from the start on or
   * from the moment on that we hear of it. @throws {MailError} INVALID
   */
  async #refuseIfBanned({ clock, logger, onFatal }: MailNodeOptions): Promise<void> {
    let started = false;
    let banned: string | undefined;
    await KeyFollower.start({
      coordinator: this.cluster.coordinator,
      clock,
      logger,
      prefix: bannedKey(this.opened.storeId),
      onKey: (_, value) => {
        if (value !== undefined) banned = bannedText(value);
        if (started && banned !== undefined) onFatal(new Error(banned));
      },
      signal: this.#stop.signal,
    });
    started = true;
    if (banned !== undefined) throw new MailError({ code: "INVALID", why: banned });
  }

  /** Lets others take its shards, as far as there are any. */
  async #letGo(): Promise<void> {
    if (this.cluster.pulse === undefined || !this.cluster.isReady) return;
    this.#leaving = true;
    this.#failover.reportSoon();
    await letGo(this.cluster);
  }

  /** What is wrong with this node, so that its primaries are to move away. */
  get ailments(): readonly Ailment[] {
    return this.#ailments;
  }

  /** What goes out with heartbeats. */
  #tellVitals(): void {
    const { pulse, options } = this.cluster;
    if (pulse === undefined || this.#stop.signal.aborted) return;
    pulse.setVitals({
      fsyncP99Ms: this.journal.syncP99Ms,
      diskFreePerMille: this.opened.room.freePerMille,
      damaged: this.#damaged,
    });
    this.#vitals = options.clock.after(vitalsEveryMs, () => this.#tellVitals());
  }

  /** Whether this node should keep its primaries. */
  #judge(): void {
    const { pulse, options } = this.cluster;
    if (pulse === undefined || this.#stop.signal.aborted) return;
    const { clock, logger } = options;
    this.#judging = clock.after(judgeEveryMs, () => this.#judge());
    const nowMs = clock.monotonicMs();
    // This timer itself comes late when the loop stalls.
    const loopLagMs = this.#judgedMs === 0 ? 0 : nowMs - this.#judgedMs - judgeEveryMs;
    this.#judgedMs = nowMs;
    const before = this.#ailments.join(" ");
    this.#ailments = this.#health.judge({
      nowMs,
      unsyncedSinceMs: this.journal.unsyncedSinceMs,
      loopLagMs,
      diskFreePerMille: this.opened.room.freePerMille,
      badRecords: this.#damaged,
    });
    const { ailments } = this;
    if (ailments.join(" ") === before) return;
    if (ailments.length > 0) logger.error({ ailments }, "this node is unwell: primaries move away");
    else logger.info("this node is well again");
    this.#failover.reportSoon();
  }

  /** Records, rows and bodies that were found damaged since the start. */
  get #damaged(): number {
    const { row, body, blob, record } = this.opened.repairs.figures.found;
    return row + body + blob + record;
  }

  /** Full copies that run or wait. */
  get copies(): CopyFigures {
    return this.#store.copies.figures;
  }

  /** What the scrubber's comparisons with other copies came to. */
  get compared(): CompareFigures {
    return this.#store.compare.figures;
  }

  /** Unacknowledged entries that were cut from logs here. */
  get cuts(): CutFigures {
    return this.#store.cuts.figures;
  }

  #sample() {
    const { user, system } = process.cpuUsage();
    return {
      cpuMicros: user + system,
      entries: this.journal.committedEntries,
      queueBytes: this.journal.uncommittedBytes,
      fsyncP99Micros: Math.round(this.journal.syncP99Ms * 1000),
      diskFreePerMille: this.opened.room.freePerMille,
      users: this.opened.engine.accounts.loadedAccounts,
      sessions: 0,
    };
  }

  /** Members of the shards of which this node is one. */
  *#neighbours(): Generator<MemberId> {
    const known = new Set([this.member]);
    for (const { primary, secondaries } of this.cluster.shards.all()) {
      const nodes = [primary.node, ...secondaries.map(({ node }) => node)];
      if (!nodes.includes(this.member)) continue;
      for (const node of nodes) {
        if (known.has(node)) continue;
        known.add(node);
        yield node;
      }
    }
  }
}
