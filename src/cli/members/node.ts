// A mail node process: store, replication, mail service, its part of the directory, HTTP.

import { mkdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Logger } from "pino";
import { DirectoryService } from "../../cluster/directory/directory-service.ts";
import { EngineDirectoryStore } from "../../cluster/directory/engine-directory-store.ts";
import { primariesOf } from "../../cluster/directory/cluster-view.ts";
import { GroupKeeper } from "../../cluster/groups/group-keeper.ts";
import { keptGroups, registerGroups } from "../../cluster/groups/group-service.ts";
import { MailNode } from "../../cluster/node/mail-node.ts";
import { startHttp } from "../../gateway/http/server.ts";
import { systemClock } from "../../lib/clock.ts";
import { lockFolder } from "../../lib/folder-lock.ts";
import { opIdMaker } from "../../lib/id-maker.ts";
import { systemRandom } from "../../lib/random.ts";
import { realDisk } from "../../lib/real-disk.ts";
import { makeRoomToStart } from "../../store/disk-room.ts";
import { opId } from "../../mail/ids.ts";
import { openIndex, searchIndexAt } from "../../store/open-store.ts";
import type { Config } from "../config/schema.ts";
import { isDiskFull } from "../failure.ts";
import { clusterOptions, shardCountOf } from "./cluster-options.ts";
import { firstMailboxes } from "./first-mailboxes.ts";
import { listenFailure, requireListener } from "./listeners.ts";
import type { RunningMember } from "./member-base.ts";
import { addNodeMetrics, memberMetrics } from "./metrics.ts";

/** Resolves once the node has joined and serves its shards. @throws FolderInUse, CommandFailure, MailError */
export async function startNode(
  config: Config,
  log: Logger,
  signal: AbortSignal,
): Promise<RunningMember> {
  const { dataDir } = config.member;
  const link = requireListener(config, "link");
  mkdirSync(dataDir, { recursive: true });
  if (await makeRoomToStart(realDisk(dataDir))) {
    log.warn({ dataDir }, "the disk is full: the ballast was given up to start");
  }
  const lock = await lockFolder(dataDir, systemRandom);
  const fatal = (error: unknown): void => {
    if (isDiskFull(error)) {
      log.fatal({ err: error, dataDir }, "the disk is full: make room, then start this node again");
    } else {
      log.fatal({ err: error }, "this node can't go on; the process ends");
    }
    process.exit(1);
  };
  let ready: readonly string[] = ["joining the cluster"];
  const metrics = memberMetrics(config, () => ready.length === 0);
  const { http } = config.listen;
  const web =
    http === undefined
      ? undefined
      : await startHttp({
          ...http,
          log,
          metrics,
          notReady: () => ready,
        }).catch((error: unknown) => {
          throw listenFailure("http", http, error);
        });
  const node = await MailNode.start(
    {
      ...clusterOptions(config, link, log, fatal),
      disk: realDisk(dataDir),
      index: await openIndex(join(dataDir, "index")),
      searchIndex: searchIndexAt(join(dataDir, "search")),
      limits: { mailboxesMax: config.limits.mailboxes },
      hostName: config.hostName ?? hostname(),
      ...diskOptions(config),
      onFatal: fatal,
    },
    signal,
  );
  const keeper = startGroupKeeper(node, log);
  addNodeMetrics(metrics, node);
  const directory = await startDirectory(config, node, log, signal);
  ready = [];
  log.info({ shards: node.journal.replicas().length }, "mail node serves");
  return {
    stop: async (limit) => {
      ready = ["stopping"];
      directory.close();
      await keeper.close();
      await node.stop();
      await web?.close(limit);
      await lock.release();
    },
  };
}

function diskOptions({ disk }: Config) {
  return {
    diskLimits: {
      mailFreePerMille: disk.mailFree * 10,
      copyFreePerMille: disk.copyFree * 10,
      floorBytes: disk.floor,
      ballastBytes: disk.ballast,
    },
    copyBytesPerSecondMax: disk.copyRate,
    replicaLimits: { copyWaitMs: disk.copyAfter },
    scrub: { everyMs: disk.scrubEvery, bytesPerSecondMax: disk.scrubRate },
  };
}

function startGroupKeeper({ opened, journal, cluster }: MailNode, log: Logger): GroupKeeper {
  const { engine, store } = opened;
  registerGroups(cluster.registry, engine);
  const nextOpId = opIdMaker(systemRandom);
  const keeper = new GroupKeeper({
    groups: keptGroups(engine, journal),
    store,
    clock: systemClock,
    nextOpId: () => opId(nextOpId()),
    log,
  });
  keeper.start();
  return keeper;
}

/** The directory's methods come when the cluster is initialised: before, nobody knows how many shards there are. */
async function startDirectory(
  config: Config,
  node: MailNode,
  log: Logger,
  signal: AbortSignal,
): Promise<DirectoryService> {
  const shardCount = await shardCountOf(node.cluster, signal);
  const nextOpId = opIdMaker(systemRandom);
  const service = new DirectoryService({
    store: new EngineDirectoryStore(node.opened.engine, node.journal, firstMailboxes(config)),
    registry: node.cluster.registry,
    links: node.cluster.links,
    primaries: primariesOf(node.cluster.shards),
    shardCount,
    clock: systemClock,
    nextOpId: () => opId(nextOpId()),
    log,
    freshnessMs: config.directory.freshness,
  });
  service.start();
  return service;
}
