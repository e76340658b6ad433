// A mail node, put together: store, replicated journal, links, mail service, presence. What is asked
// of it goes through its links only; the directory's services are registered by the caller.

import type { Disk } from "../../lib/disk.ts";
import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { Journal } from "../../store/journal.ts";
import type { BodySource } from "../../store/body-source.ts";
import { openStore } from "../../store/open-store.ts";
import type { OpenedStore, OpenStoreOptions, StoreParts } from "../../store/open-store.ts";
import type { RpcRegistry } from "../link/rpc.ts";
import type { Limits } from "../protocol/replica-state.ts";
import { BlobShelf } from "./blob-shelf.ts";
import { ClusterClient } from "./cluster-client.ts";
import type { ClusterOptions } from "./cluster-client.ts";
import { DiskLevels } from "./disk-levels.ts";
import { encodeLoad, LoadMeter } from "./load-figures.ts";
import { MailService } from "./mail-service.ts";
import type { PendingEntry } from "./pending-entries.ts";
import { ReplicatedJournal } from "./replicated-journal.ts";
import { NodeSpool } from "./spool-service.ts";
import type { SpoolFigures } from "./spool-service.ts";

export interface MailNodeOptions
  extends ClusterOptions,
    Pick<
      OpenStoreOptions,
      "disk" | "index" | "limits" | "logSizes" | "checkpointEveryMs" | "diskLimits"
    > {
  /** The disk, the log or the index has failed: the process must end. */
  readonly onFatal: (error: unknown) => void;
  /** Registers further methods (the directory's), before links are accepted. */
  readonly register?: (registry: RpcRegistry, node: NodeParts) => void;
  /** In bounce messages; the member's id when absent. */
  readonly hostName?: string;
  readonly replicaLimits?: Partial<Limits>;
}

/** What services of this node are built on. */
export interface NodeParts {
  readonly cluster: ClusterClient;
  readonly opened: OpenedStore;
  readonly journal: ReplicatedJournal;
}

const drainMs = 5000;
const emptySpool: SpoolFigures = { recipients: 0, bytes: 0, delivered: 0, failed: 0, untold: 0 };

export class MailNode {
  readonly cluster: ClusterClient;
  readonly opened: OpenedStore;
  readonly journal: ReplicatedJournal;
  readonly #shelf: BlobShelf;
  #spool: NodeSpool | undefined;
  readonly #stop = new AbortController();

  private constructor(
    cluster: ClusterClient,
    opened: OpenedStore,
    journal: ReplicatedJournal,
    shelf: BlobShelf,
  ) {
    this.cluster = cluster;
    this.opened = opened;
    this.journal = journal;
    this.#shelf = shelf;
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
      const made = await openNodeStore(options, cluster);
      node = new MailNode(cluster, made.opened, made.journal, made.shelf);
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

  /** Takes no more changes, lets those under way be committed, then closes everything, store last. */
  async stop(): Promise<void> {
    const { clock } = this.cluster.options;
    const limit = new AbortController();
    const timer = clock.after(drainMs, () => limit.abort());
    await this.journal.drain(limit.signal);
    timer.cancel();
    await this.abandon();
  }

  /** As `stop`, without waiting for changes under way: their outcome stays unknown to those who asked. */
  async abandon(): Promise<void> {
    this.#stop.abort();
    // Its deliveries end when the journal lets their waiters go.
    const spoolStopped = this.#spool?.stop();
    this.#shelf.close();
    this.journal.close();
    await this.cluster.close();
    await spoolStopped;
    await this.opened.close();
  }

  async #serve(options: MailNodeOptions, signal: AbortSignal): Promise<void> {
    const { cluster, opened, journal } = this;
    new MailService(opened.store, journal).register(cluster.registry);
    options.register?.(cluster.registry, this);
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
    levels.start();
    await cluster.announce({ store: opened.storeId }, signal);
    journal.onRefresh = () => {
      cluster.shards.refresh().then(
        () => undefined,
        (error: unknown) => options.logger.error({ err: error }, "shard table not refreshed"),
      );
    };
    cluster.shards.onChange((config) => journal.setConfig(config));
    for (const config of cluster.shards.all()) journal.setConfig(config);
    const { clock, logger, hostName = this.member } = options;
    const { shards: table, links } = cluster;
    this.#spool = new NodeSpool({ opened, table, links, clock, logger, hostName });
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

interface NodeStore {
  readonly opened: OpenedStore;
  readonly journal: ReplicatedJournal;
  readonly shelf: BlobShelf;
}

async function openNodeStore(options: MailNodeOptions, cluster: ClusterClient): Promise<NodeStore> {
  const { disk, index, clock, random, limits, logSizes, checkpointEveryMs, onFatal } = options;
  const { diskLimits } = options;
  const made: { journal?: ReplicatedJournal; shelf?: BlobShelf } = {};
  const makeJournal = async (
    parts: StoreParts,
  ): Promise<{ readonly journal: Journal; readonly bodies: BodySource }> => {
    const shelf: BlobShelf = new BlobShelf({
      blobs: parts.blobs,
      links: cluster.links,
      clock,
      logger: options.logger,
      secondariesOf: (shard) => secondariesOf(journal, shard),
    });
    shelf.register(cluster.registry);
    const journal = await openJournal(options, cluster, parts, shelf);
    made.journal = journal;
    made.shelf = shelf;
    return { journal, bodies: new MemberBodies(parts.bodies, shelf) };
  };
  const opened = await openStore({
    disk,
    index,
    clock,
    random,
    onFatal,
    makeJournal,
    ...(limits === undefined ? {} : { limits }),
    ...(logSizes === undefined ? {} : { logSizes }),
    ...(checkpointEveryMs === undefined ? {} : { checkpointEveryMs }),
    ...(diskLimits === undefined ? {} : { diskLimits }),
  });
  const { journal, shelf } = made;
  if (journal === undefined || shelf === undefined) throw new Error("the store made no journal");
  return { opened, journal, shelf };
}

function openJournal(
  options: MailNodeOptions,
  cluster: ClusterClient,
  parts: StoreParts,
  shelf: BlobShelf,
): Promise<ReplicatedJournal> {
  const { disk, logger, clock, member, replicaLimits } = options;
  const { engine, log, storeId } = parts;
  return ReplicatedJournal.open({
    me: { node: member, store: storeId },
    incarnation: cluster.incarnation,
    log,
    links: cluster.links,
    registry: cluster.registry,
    apply: engine.apply,
    clock,
    logger,
    inspect: (raw) => shelf.inspect(raw),
    roleChanged: (shard) => engine.resetShard(shard),
    sendBlobs: (to, shard, blobs) => shelf.send(to, shard, blobs),
    saveCut: (shard, records) => {
      saveCut(disk, shard, records).then(
        () => undefined,
        (error: unknown) => logger.error({ shard, err: error }, "cut entries not saved"),
      );
    },
    soon: (run) => setImmediate(run),
    ...(replicaLimits === undefined ? {} : { limits: replicaLimits }),
  });
}

function secondariesOf(journal: ReplicatedJournal, shard: ShardId): readonly MemberId[] {
  return journal.configOf(shard)?.secondaries.map((copy) => copy.node) ?? [];
}

/** Large bodies of a cluster: written on all members, read here. */
class MemberBodies implements BodySource {
  readonly #local: BodySource;
  readonly #shelf: BlobShelf;

  constructor(local: BodySource, shelf: BlobShelf) {
    this.#local = local;
    this.#shelf = shelf;
  }

  readMany(...args: Parameters<BodySource["readMany"]>): ReturnType<BodySource["readMany"]> {
    return this.#local.readMany(...args);
  }
  isMoved(error: unknown): boolean {
    return this.#local.isMoved(error);
  }
  readBlob(...args: Parameters<BodySource["readBlob"]>): ReturnType<BodySource["readBlob"]> {
    return this.#local.readBlob(...args);
  }
  hasBlob(...args: Parameters<BodySource["hasBlob"]>): ReturnType<BodySource["hasBlob"]> {
    return this.#shelf.has(...args);
  }
  writeBlob(...args: Parameters<BodySource["writeBlob"]>): ReturnType<BodySource["writeBlob"]> {
    return this.#shelf.write(...args);
  }
}

/** Unacknowledged entries that a conflict removed, raw, one file a cut; for an operator's eyes. */
async function saveCut(
  disk: Disk,
  shard: ShardId,
  records: readonly PendingEntry[],
): Promise<void> {
  const [first] = records;
  if (first === undefined) return;
  await disk.makeFolder("cut");
  const file = await disk.open(`cut/${shard}-${first.entry.epoch}-${first.lsn}`, "write");
  try {
    await file.truncate(0);
    await file.writev(
      records.flatMap(({ parts }) => parts),
      0,
    );
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.syncFolder("cut");
}
