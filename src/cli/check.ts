// Opens a stopped node's store as its start would, and looks for damage. Takes no part in a cluster:
// what was not committed before stays so.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { ClusterClient } from "../cluster/node/cluster-client.ts";
import { NodeRepairs } from "../cluster/node/copy-repair.ts";
import { systemClock } from "../lib/clock.ts";
import { FolderInUse, lockFolder } from "../lib/folder-lock.ts";
import { systemRandom } from "../lib/random.ts";
import { realDisk } from "../lib/real-disk.ts";
import { isMailError, MailError } from "../mail/errors.ts";
import { checkStore, type Finding } from "../store/check.ts";
import type { Journal } from "../store/journal.ts";
import { openIndex, openStore } from "../store/open-store.ts";
import type { OpenedStore } from "../store/open-store.ts";
import { RepairGiver } from "../store/repair-source.ts";
import { loadConfig } from "./config/load.ts";
import type { Config } from "./config/schema.ts";
import { clusterOptions } from "./members/cluster-options.ts";
import { requireListener } from "./members/listeners.ts";
import { makeLog } from "./members/member-base.ts";
import { CommandFailure, exitStatus } from "./failure.ts";

export interface CheckOutcome {
  readonly shards: number;
  /** What is damaged; with `repair`, what still is. */
  readonly findings: readonly Finding[];
  /** Replaced from other members; lost: no member has these unharmed. */
  readonly repaired: number;
  readonly lost: number;
}

export interface CheckOptions {
  /** Read every message, too. */
  readonly bodies: boolean;
  /** Have damage replaced by the shards' other members, which must run. Reads everything. */
  readonly repair: boolean;
}

const findingsMost = 10_000;
const reachMs = 30_000;
const linksMs = 10_000;
const lookEveryMs = 50;

/** @throws CommandFailure when the store can't be opened: in use, none there, a newer format, index lost. */
export async function checkNode(configFile: string, options: CheckOptions): Promise<CheckOutcome> {
  const config = loadConfig(configFile);
  const { member } = config;
  if (member.role !== "node") {
    throw new CommandFailure(
      `${member.id} is a ${member.role}: only nodes hold mail`,
      exitStatus.usage,
    );
  }
  const { dataDir } = member;
  if (!existsSync(join(dataDir, "index"))) {
    throw new CommandFailure(`${dataDir} has no store`, exitStatus.noInput);
  }
  try {
    const lock = await lockFolder(dataDir, systemRandom);
    try {
      return await look(config, options);
    } finally {
      await lock.release();
    }
  } catch (error) {
    if (error instanceof FolderInUse) {
      throw new CommandFailure(error.message, exitStatus.unavailable, { cause: error });
    }
    if (isMailError(error)) {
      throw new CommandFailure(`${dataDir}: ${error.message}`, exitStatus.failed, { cause: error });
    }
    throw error;
  }
}

async function look(config: Config, { bodies, repair }: CheckOptions): Promise<CheckOutcome> {
  const { dataDir } = config.member;
  const opened = await openStore({
    disk: realDisk(dataDir),
    index: await openIndex(join(dataDir, "index")),
    clock: systemClock,
    random: systemRandom,
    makeJournal: (parts) => Promise.resolve({ journal: closedJournal, bodies: parts.bodies }),
    ...(repair ? { scrub: { bytesPerSecondMax: Number.POSITIVE_INFINITY } } : {}),
    onFatal: (error) => {
      throw error;
    },
  });
  const findings: Finding[] = [];
  try {
    if (repair) await repairFromPeers(config, opened);
    const shards = [...opened.log.shards.keys()];
    const { damage } = opened.log;
    const { signal } = new AbortController();
    const all = bodies || repair;
    for await (const finding of checkStore(
      opened.engine,
      { shards, damage, bodies: all },
      signal,
    )) {
      findings.push(finding);
      if (findings.length === findingsMost) break;
    }
    const { repaired, lost } = opened.repairs.figures;
    return { shards: shards.length, findings, repaired, lost };
  } finally {
    await opened.close();
  }
}

/** Reads everything once, and asks the members that the table names for what is damaged. */
async function repairFromPeers(config: Config, opened: OpenedStore): Promise<void> {
  const log = makeLog(config);
  const { pulse: _, ...options } = clusterOptions(
    config,
    requireListener(config, "link"),
    log,
    (error) => {
      throw error;
    },
  );
  const cluster = new ClusterClient(options, "node");
  const { engine, log: segments, blobs } = opened;
  const source = new NodeRepairs({
    giver: new RepairGiver({ rows: engine.rows, log: segments, blobs, clock: systemClock }),
    links: cluster.links,
    members: (shard) => {
      const table = cluster.shards.all().find((each) => each.shard === shard);
      if (table === undefined) return [];
      const full = table.secondaries.filter((copy) => copy.full);
      const nodes = [table.primary, ...full].map(({ node }) => node);
      return nodes.filter((node) => node !== config.member.id);
    },
  });
  try {
    await cluster.look(AbortSignal.timeout(reachMs));
    await untilUp(cluster);
    opened.repairs.source = source;
    await opened.scrubber.pass();
  } finally {
    source.close();
    await cluster.close();
  }
}

/** Waits for the links to the other nodes; who does not answer in time is done without. */
async function untilUp(cluster: ClusterClient): Promise<void> {
  const self = cluster.options.member;
  const nodes = cluster.members
    .all()
    .flatMap(({ role, member }) => (role === "node" && member !== self ? [member] : []));
  const untilMs = systemClock.monotonicMs() + linksMs;
  while (
    nodes.some((node) => !cluster.links.peer(node).up) &&
    systemClock.monotonicMs() < untilMs
  ) {
    await wait(lookEveryMs);
  }
}

/** Nothing is written: this process is no member. */
const closedJournal: Journal = {
  propose: (draft) => {
    throw new MailError({ code: "WRONG_NODE", shard: draft.shard });
  },
  serves: () => false,
};
