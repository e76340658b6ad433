// The cluster as one gateway sees it, for `pabal cluster status` and the admin API.

import type { GatewayDirectory } from "../../cluster/directory/gateway-directory.ts";
import type { GatewayCluster } from "../../cluster/node/gateway-cluster.ts";
import type { LoadFigures } from "../../cluster/node/load-figures.ts";
import { type MemberId, memberId } from "../../mail/ids.ts";
import type { ClusterStatus } from "../commands/cluster.ts";
import type { Config } from "../config/schema.ts";

/** n10 comes after n9. */
const byNumber = new Intl.Collator("en", { numeric: true });

/** Counts from this gateway's tables; a member is up when our link to it is. */
export async function gatewayStatus(
  config: Config,
  { cluster }: GatewayCluster,
  directory: GatewayDirectory,
  loadOf: (node: MemberId) => LoadFigures | undefined,
): Promise<ClusterStatus> {
  const shards = cluster.shards.all();
  const isUp = (member: MemberId): boolean => cluster.links.peer(member).up;
  const copiesUp = shards.map(
    ({ primary, secondaries }) => [primary, ...secondaries].filter(({ node }) => isUp(node)).length,
  );
  const me = memberId(config.member.id);
  const { kind } = config.cluster.coordinator;
  const coordinator = memberId(config.cluster.coordinator.member);
  const members = cluster.members
    .all()
    .filter(({ role }) => role === "node" || role === "gateway")
    .sort((a, b) => a.role.localeCompare(b.role) || byNumber.compare(a.member, b.member));
  return {
    cluster: config.cluster.id,
    gateway: me,
    shards: {
      total: shards.length,
      full: copiesUp.filter((count) => count >= 2).length,
      oneCopy: copiesUp.filter((count) => count === 1).length,
      down: copiesUp.filter((count) => count === 0).length,
    },
    directory: { missing: directory.missing().length, stale: directory.stale().length },
    members: [
      ...(kind === "embedded"
        ? [{ id: coordinator, role: "coordinator", up: isUp(coordinator) }]
        : []),
      ...members.map(({ member, role }) => {
        const load = role === "node" ? loadOf(member) : undefined;
        return {
          id: member,
          role,
          // Gateways have no links among each other: presence is what the coordinator says.
          up: role === "gateway" ? true : isUp(member),
          ...(role === "node"
            ? {
                primaries: shards.filter(({ primary }) => primary.node === member).length,
                secondaries: shards.filter(({ secondaries }) =>
                  secondaries.some(({ node }) => node === member),
                ).length,
              }
            : {}),
          ...(load === undefined
            ? {}
            : { load: { cpu: load.cpuPerMille / 1000, queue: load.queueBytes } }),
        };
      }),
    ],
  };
}
