// A node's store in a cluster, put together: log, replicated journal, large bodies on all members, full
// copies. Leaves links, tables and services to mail-node.ts.

import type { MemberId, ShardId } from "../../mail/ids.ts";
import type { BodySource } from "../../store/body-source.ts";
import type { Journal } from "../../store/journal.ts";
import { openStore } from "../../store/open-store.ts";
import type { OpenedStore, OpenStoreOptions, StoreParts } from "../../store/open-store.ts";
import { RepairGiver } from "../../store/repair-source.ts";
import type { Limits } from "../protocol/replica-state.ts";
import { BlobShelf } from "./blob-shelf.ts";
import { CutFiles } from "./cut-files.ts";
import type { Links, RpcRegistry } from "../link/rpc.ts";
import type { ClusterOptions } from "./cluster-client.ts";
import type { LeaseSource } from "./lease-source.ts";
import { CopyService } from "./copy-service.ts";
import { CopyCompare } from "./copy-compare.ts";
import { NodeRepairs } from "./copy-repair.ts";
import { ReplicatedJournal } from "./replicated-journal.ts";

export interface NodeStoreOptions
  extends ClusterOptions,
    Pick<
      OpenStoreOptions,
      | "disk"
      | "index"
      | "searchIndex"
      | "limits"
      | "logSizes"
      | "checkpointEveryMs"
      | "diskLimits"
      | "scrub"
    > {
  /** The disk, the log or the index has failed: the process must end. */
  readonly onFatal: (error: unknown) => void;
  readonly replicaLimits?: Partial<Limits>;
  /** What one copy that is handed out may take of disk and network. */
  readonly copyBytesPerSecondMax?: number;
}

/** What a store needs to know of its member. */
export type StoreOptions = Omit<
  NodeStoreOptions,
  Exclude<keyof ClusterOptions, "clock" | "random" | "logger" | "member">
>;

/** What a store needs of the cluster that its member has joined. */
export interface JoinedCluster {
  readonly links: Links;
  readonly registry: RpcRegistry;
  readonly incarnation: number;
  readonly pulse: LeaseSource | undefined;
}

/** Mail comes first: one copy takes no more of disk and network. */
const copyBytesPerSecondMax = 32 * 1024 * 1024;

/** The store with what makes it one of a cluster's. */
export interface NodeStore {
  readonly opened: OpenedStore;
  readonly journal: ReplicatedJournal;
  readonly shelf: BlobShelf;
  readonly copies: CopyService;
  readonly repairs: NodeRepairs;
  readonly compare: CopyCompare;
  readonly cuts: CutFiles;
}

/** Opens log, index and blobs; the cluster is joined. @throws what openStore throws */
export async function openNodeStore(
  options: StoreOptions,
  cluster: JoinedCluster,
): Promise<NodeStore> {
  const { disk, index, clock, random, limits, logSizes, checkpointEveryMs, onFatal } = options;
  const { diskLimits, scrub, searchIndex, logger } = options;
  const made: Made = {};
  const cuts = new CutFiles(disk, clock, (error) =>
    logger.warn({ err: error }, "old cut entries not removed"),
  );
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
    const journal = await openJournal(options, cluster, parts, shelf, made, cuts);
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
    ...(scrub === undefined ? {} : { scrub }),
    ...(searchIndex === undefined ? {} : { searchIndex }),
    onDamage: (kind, what, outcome) => {
      const facts = { kind, what, outcome };
      if (outcome === "repaired") logger.warn(facts, "damaged data repaired from another member");
      else logger.error(facts, "damaged data");
    },
  });
  const { journal, shelf } = made;
  if (journal === undefined || shelf === undefined) throw new Error("the store made no journal");
  const copies = new CopyService({
    copies: opened.copies,
    links: cluster.links,
    clock,
    logger: options.logger,
    syncP99Ms: () => journal.syncP99Ms,
    bytesPerSecondMax: options.copyBytesPerSecondMax ?? copyBytesPerSecondMax,
  });
  copies.register(cluster.registry);
  made.copies = copies;
  const repairs = openRepairs(options, cluster, opened, journal);
  const compare = openCompare(options, cluster, opened, journal);
  cuts.start();
  return { opened, journal, shelf, copies, repairs, compare, cuts };
}

/** Damaged bytes are asked for at the shard's other members, and given to them. */
function openRepairs(
  { clock, member }: StoreOptions,
  cluster: JoinedCluster,
  { engine, log, blobs, repairs }: OpenedStore,
  journal: ReplicatedJournal,
): NodeRepairs {
  const source = new NodeRepairs({
    giver: new RepairGiver({ rows: engine.rows, log, blobs, clock }),
    links: cluster.links,
    members: (shard) => {
      const config = journal.configOf(shard);
      if (config === undefined) return [];
      const full = config.secondaries.filter((copy) => copy.full);
      return [config.primary, ...full].map(({ node }) => node).filter((node) => node !== member);
    },
  });
  source.register(cluster.registry);
  repairs.source = source;
  return source;
}

/** The scrubber compares what it reads with the primary's copy. */
function openCompare(
  { clock, logger, member }: StoreOptions,
  cluster: JoinedCluster,
  opened: OpenedStore,
  journal: ReplicatedJournal,
): CopyCompare {
  const compare = new CopyCompare({
    opened,
    links: cluster.links,
    clock,
    logger,
    primaryOf: (shard) => {
      const config = journal.configOf(shard);
      const isFull = config?.secondaries.some((one) => one.node === member && one.full);
      return isFull === true ? config?.primary.node : undefined;
    },
    differ: () => {
      const why = "copiesDiffer";
      journal.alarms.set(why, (journal.alarms.get(why) ?? 0) + 1);
    },
  });
  compare.register(cluster.registry);
  opened.scrubber.comparison = compare;
  return compare;
}

/** What is made one after the other: the journal copies through a service that needs the store. */
interface Made {
  journal?: ReplicatedJournal;
  shelf?: BlobShelf;
  copies?: CopyService;
}

function openJournal(
  options: StoreOptions,
  cluster: JoinedCluster,
  parts: StoreParts,
  shelf: BlobShelf,
  made: Made,
  cuts: CutFiles,
): Promise<ReplicatedJournal> {
  const { logger, clock, member, replicaLimits } = options;
  const { engine, log, storeId } = parts;
  return ReplicatedJournal.open({
    me: { node: member, store: storeId },
    incarnation: cluster.incarnation,
    log,
    links: cluster.links,
    registry: cluster.registry,
    ...(cluster.pulse === undefined ? {} : { leases: cluster.pulse }),
    apply: engine.apply,
    clock,
    logger,
    inspect: (raw) => {
      try {
        return shelf.inspect(raw);
      } catch (error) {
        // What the primary wrote is not understood here: no copy, rather than another one.
        options.onFatal(error);
        throw error;
      }
    },
    roleChanged: (shard) => engine.resetShard(shard),
    sendBlobs: (to, shard, blobs) => shelf.send(to, shard, blobs),
    copies: {
      take: (shard, from) => made.copies?.take(shard, from) ?? Promise.resolve(undefined),
      cancel: (shard) => made.copies?.cancel(shard),
    },
    saveCut: (shard, records) => cuts.save(shard, records),
    onFatal: options.onFatal,
    soon: (run) => setImmediate(run),
    ...(replicaLimits === undefined ? {} : { limits: replicaLimits }),
  });
}

/** Nodes with the other copies, as far as this node knows. */
export function secondariesOf(journal: ReplicatedJournal, shard: ShardId): readonly MemberId[] {
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
