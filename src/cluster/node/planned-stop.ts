// A node that is about to stop lets go of its shards while it is still there: first managers make others
// primary, then the primaries of its other shards have it removed. Users wait for a moment, not for a lease.

import type { MemberId } from "../../mail/ids.ts";
import type { ClusterClient } from "./cluster-client.ts";
import { failoverMethods } from "./failover-wire.ts";

/** Handing over takes about 20 ms a primary; other nodes may be down, too. */
const handOverMs = 4000;
/** Nobody loses anything by a secondary that is not removed in time. */
const leaveMs = 1000;
const lookMs = 20;
/** A primary that has just taken over hears it again. */
const sayMs = 200;

/** Ends when nothing more can be let go. The node reports by now that it wants to be relieved. */
export async function letGo(cluster: ClusterClient): Promise<void> {
  await waitWhile(cluster, handOverMs, () => canHandOver(cluster));
  let saidMs = Number.NEGATIVE_INFINITY;
  await waitWhile(cluster, leaveMs, (nowMs) => {
    const primaries = primariesToTell(cluster);
    if (nowMs - saidMs >= sayMs) {
      saidMs = nowMs;
      for (const node of primaries) cluster.links.peer(node).send(failoverMethods.leaving, null);
    }
    return primaries.size > 0;
  });
}

async function waitWhile(
  { options }: ClusterClient,
  mostMs: number,
  holds: (nowMs: number) => boolean,
): Promise<void> {
  const { clock } = options;
  const untilMs = clock.monotonicMs() + mostMs;
  for (let nowMs = clock.monotonicMs(); nowMs < untilMs && holds(nowMs); ) {
    await new Promise<void>((resolve) => {
      clock.after(lookMs, resolve);
    });
    nowMs = clock.monotonicMs();
  }
}

/** A shard is ours, another node could take it, and a gateway is there to arrange that. */
function canHandOver(cluster: ClusterClient): boolean {
  const { links, shards, options } = cluster;
  if (!gatewayUp(cluster)) return false;
  return shards
    .all()
    .some(
      ({ primary, secondaries }) =>
        primary.node === options.member &&
        secondaries.some((one) => one.full && links.peer(one.node).up),
    );
}

/** Primaries of shards of which this node is a secondary, as long as others could take its place. */
function primariesToTell(cluster: ClusterClient): ReadonlySet<MemberId> {
  const { links, shards, members, options } = cluster;
  const { member } = options;
  const others = members
    .all()
    .filter((one) => one.role === "node" && one.member !== member && links.peer(one.member).up);
  const found = new Set<MemberId>();
  if (others.length < 2 || !gatewayUp(cluster)) return found;
  for (const { primary, secondaries } of shards.all())
    if (secondaries.some(({ node }) => node === member) && links.peer(primary.node).up)
      found.add(primary.node);
  return found;
}

function gatewayUp({ members, links }: ClusterClient): boolean {
  return members.all().some(({ role, member }) => role === "gateway" && links.peer(member).up);
}
