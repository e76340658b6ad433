// The cluster as one gateway sees it, for `pabal cluster status` and the admin API.

import type { GatewayDirectory } from "../../cluster/directory/gateway-directory.ts";
import type { ClusterClient } from "../../cluster/node/cluster-client.ts";
import type { GatewayCluster } from "../../cluster/node/gateway-cluster.ts";
import type { LoadFigures } from "../../cluster/node/load-figures.ts";
import { type MemberId, memberId, type ShardId } from "../../mail/ids.ts";
import type { RingView } from "../../cluster/protocol/ring-types.ts";
import type { ShardConfig } from "../../cluster/protocol/shard-config.ts";
import type { ShardList } from "../commands/cluster.ts";
import type { ClusterStatus } from "../commands/cluster-status.ts";
import type { Config } from "../config/schema.ts";

/** n10 comes after n9. */
const byNumber = new Intl.Collator("en", { numeric: true });

/** Counts from this gateway's tables; a member is up when our link to it is. */
export async function gatewayStatus(
  config: Config,
  gateway: GatewayCluster,
  directory: GatewayDirectory,
  loadOf: (node: MemberId) => LoadFigures | undefined,
): Promise<ClusterStatus> {
  const { cluster } = gateway;
  const ring = cluster.pulse?.ring();
  const { kind, member } = config.cluster.coordinator;
  const coordinator = memberId(member);
  const up = cluster.links.peer(coordinator).up;
  return {
    cluster: config.cluster.id,
    gateway: memberId(config.member.id),
    shards: await shardCounts(cluster, directory),
    ...copiesShown(gateway),
    ...happened(gateway),
    ...(ring === undefined ? {} : { ring: ringShown(ring, cluster.pulse?.acting() ?? false) }),
    directory: { missing: directory.missing().length, stale: directory.stale().length },
    members: [
      ...(kind === "embedded" ? [{ id: coordinator, role: "coordinator", up }] : []),
      ...membersShown(cluster, ring, loadOf),
    ],
  };
}

/** How many shards are in which state, as far as the links of this gateway tell. */
export function shardStates(cluster: ClusterClient): {
  readonly shards: readonly { readonly state: string; readonly up: number }[];
  readonly unsafe: readonly ShardId[];
} {
  const shards = cluster.shards.all().map((config) => ({
    shard: config.shard,
    state: stateOf(config),
    up: [config.primary, ...config.secondaries].filter(({ node }) => cluster.links.peer(node).up)
      .length,
  }));
  const unsafe = shards.filter(({ state }) => state !== "FULL").map(({ shard }) => shard);
  return { shards, unsafe };
}

async function shardCounts(
  cluster: ClusterClient,
  directory: GatewayDirectory,
): Promise<ClusterStatus["shards"]> {
  const { shards, unsafe } = shardStates(cluster);
  const table = cluster.shards.all();
  return {
    total: shards.length,
    full: shards.filter(({ state, up }) => state === "FULL" && up >= 2).length,
    sync: shards.filter(({ state }) => state === "SYNC").length,
    solo: shards.filter(({ state }) => state === "SOLO").length,
    oneCopy: shards.filter(({ up }) => up === 1).length,
    down: shards.filter(({ up }) => up === 0).length,
    usersOnOneCopy: await directory.accountsIn(unsafe),
    epoch: Math.max(0, ...table.map(({ epoch }) => epoch)),
    sharedDomain: table.filter((config) => sharesDomain(cluster, config)).length,
  };
}

/** Two copies of the shard would be lost with one failure domain. */
function sharesDomain({ members }: ClusterClient, config: ShardConfig): boolean {
  const domains = [config.primary, ...config.secondaries].flatMap(
    ({ node }) => members.get(node)?.failureDomain ?? [],
  );
  return new Set(domains).size < domains.length;
}

function copiesShown({
  copies,
}: GatewayCluster): Pick<ClusterStatus, "toSafeMs" | "copies" | "copiesWaiting"> {
  const { toSafeMs } = copies;
  const shown = [...copies.copies].flatMap(([node, { running }]) =>
    running.map((copy) => ({ node, ...copy })),
  );
  let copiesWaiting = 0;
  for (const { waiting } of copies.copies.values()) copiesWaiting += waiting;
  return {
    ...(toSafeMs === undefined ? {} : { toSafeMs: Math.round(toSafeMs) }),
    copies: shown,
    copiesWaiting,
  };
}

const shardsNamedMax = 32;

function happened({ manager, cluster }: GatewayCluster): Pick<ClusterStatus, "changes" | "alarms"> {
  if (manager === undefined) return {};
  const nowMs = cluster.options.clock.monotonicMs();
  const { counts, lastFailoverMs } = manager.news;
  return {
    changes: {
      ...counts,
      ...(lastFailoverMs === undefined
        ? {}
        : { lastFailoverAgoMs: Math.round(nowMs - lastFailoverMs) }),
    },
    alarms: manager.alarms.raised(nowMs).map(({ why, shards, forMs }) => ({
      why,
      forMs: Math.round(forMs),
      count: shards.length,
      shards: shards.slice(0, shardsNamedMax),
    })),
  };
}

function ringShown(view: RingView, acting: boolean): NonNullable<ClusterStatus["ring"]> {
  const { ring, order, holder, pinned, rotationMs, reach } = view;
  const cutOff = reach.filter(({ unreachable }) => unreachable.length > 0);
  return {
    order: [...order],
    term: ring.term,
    pinned,
    acting,
    unreachable: cutOff.map(({ gateway, unreachable }) => ({ gateway, nodes: [...unreachable] })),
    ...(holder === undefined ? {} : { holder }),
    ...(rotationMs === undefined ? {} : { rotationMs }),
  };
}

type ShownLoad = NonNullable<ClusterStatus["members"][number]["load"]>;

/** Figures that went round the ring are the newest that any gateway has; else those of our own links. */
function loadShown(
  member: MemberId,
  ring: RingView | undefined,
  loadOf: (node: MemberId) => LoadFigures | undefined,
): ShownLoad | undefined {
  const carried = ring?.loads.find(({ load }) => load.member === member);
  const figures = carried?.load ?? loadOf(member);
  if (figures === undefined) return undefined;
  return {
    cpu: figures.cpuPerMille / 1000,
    queue: figures.queueBytes,
    fsyncP99Ms: figures.fsyncP99Micros / 1000,
    diskFree: figures.diskFreePerMille / 1000,
    users: figures.users,
    sessions: figures.sessions,
    ioPerSecond: figures.ioPerSecond,
    ...(carried === undefined ? {} : { ageMs: Math.round(carried.ageMs) }),
  };
}

function membersShown(
  { members, shards, links, options, pulse }: ClusterClient,
  ring: RingView | undefined,
  loadOf: (node: MemberId) => LoadFigures | undefined,
): ClusterStatus["members"] {
  const table = shards.all();
  return members
    .all()
    .filter(({ role }) => role === "node" || role === "gateway")
    .sort((a, b) => a.role.localeCompare(b.role) || byNumber.compare(a.member, b.member))
    .map(({ member, role, draining, failureDomain, wire = 1 }) => {
      const load = loadShown(member, ring, loadOf);
      // Gateways have no links among each other: the ring says who lives.
      if (role === "gateway") {
        const up = member === options.member || ring === undefined || ring.order.includes(member);
        return { id: member, role, up, wire, ...(load === undefined ? {} : { load }) };
      }
      const loopLagMs = pulse?.vitals(member)?.loopLagMs;
      return {
        id: member,
        role,
        up: links.peer(member).up,
        failureDomain,
        wire,
        ...(draining === true ? { draining } : {}),
        primaries: table.filter(({ primary }) => primary.node === member).length,
        secondaries: table.filter(({ secondaries }) =>
          secondaries.some(({ node }) => node === member),
        ).length,
        ...(load === undefined ? {} : { load }),
        ...(loopLagMs === undefined ? {} : { loopLagMs }),
      };
    });
}

/** The shard table as `GET /admin/v1/shards` gives it. */
export function shardsShown({ cluster }: GatewayCluster): ShardList["shards"] {
  return cluster.shards.all().map((config) => ({
    shard: config.shard,
    epoch: config.epoch,
    state: stateOf(config),
    primary: { ...config.primary },
    secondaries: config.secondaries.map((copy) => ({ ...copy })),
    former: (config.former ?? []).map((copy) => ({ ...copy })),
  }));
}

function stateOf({ secondaries }: ShardConfig): "FULL" | "SYNC" | "SOLO" {
  if (secondaries.length === 0) return "SOLO";
  return secondaries.some(({ full }) => full) ? "FULL" : "SYNC";
}
