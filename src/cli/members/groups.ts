// Groups of a gateway, put together: the store with views for the front-ends, and the operators' side.

import { GroupAdminClient } from "../../cluster/groups/group-admin-client.ts";
import { GroupIndexes } from "../../cluster/groups/group-indexes.ts";
import { GroupTexts } from "../../cluster/groups/group-texts.ts";
import { GroupedMailStore } from "../../cluster/groups/grouped-mail-store.ts";
import { MemberViews } from "../../cluster/groups/member-views.ts";
import { primariesOf } from "../../cluster/directory/cluster-view.ts";
import type { GatewayDirectory } from "../../cluster/directory/gateway-directory.ts";
import { freshLoads, Placement } from "../../cluster/directory/placement.ts";
import type { GatewayCluster } from "../../cluster/node/gateway-cluster.ts";
import type { GroupFigures } from "../../gateway/http/group-metrics.ts";
import type { GroupServices } from "../../gateway/services.ts";
import { systemClock } from "../../lib/clock.ts";
import { systemRandom } from "../../lib/random.ts";
import type { OpId } from "../../mail/ids.ts";
import type { MailStore } from "../../mail/mail-store.ts";
import type { Config } from "../config/schema.ts";

export interface GatewayGroups {
  /** What front-ends are given. */
  readonly store: MailStore;
  readonly services: GroupServices;
  readonly admin: GroupAdminClient;
  readonly figures: () => GroupFigures;
  readonly close: () => void;
}

const folders = { en: "Announcements", ko: "공지" } as const;

export function startGroups(
  config: Config,
  { cluster, store }: GatewayCluster,
  directory: GatewayDirectory,
  domains: readonly string[],
  nextOpId: () => OpId,
  hostName: string,
): GatewayGroups {
  const { links, shards } = cluster;
  const { folder = folders[config.locale], notifyRate, cache } = config.groups;
  const indexes = new GroupIndexes({
    store,
    directory,
    clock: systemClock,
    random: systemRandom,
    notifyPerSecond: notifyRate,
  });
  const [domain = ""] = domains;
  const views = new MemberViews({ store, directory, indexes, folder, domain });
  const texts = new GroupTexts(store, cache);
  const primaries = primariesOf(shards);
  const admin = new GroupAdminClient({
    store,
    directory,
    indexes,
    links,
    primaries,
    placement: new Placement({
      shardCount: shards.count,
      primaries,
      loadOf: freshLoads(() => links.loads(), systemClock),
      random: systemRandom,
    }),
    shardCount: shards.count,
    domains,
    clock: systemClock,
    nextOpId,
    hostName,
    messageBytesMax: config.limits.messageBytes,
  });
  const grouped = new GroupedMailStore({ store, views, indexes, texts });
  return {
    store: grouped,
    services: {
      join: (name, user, signal) => admin.join(name, user, signal),
      leave: (name, user, signal) => admin.leave(name, user, signal),
      mailboxes: (who, signal) => grouped.groupMailboxes(who, signal),
    },
    admin,
    figures: () => ({
      ...indexes.figures,
      states: views.states.size,
      cacheBytes: texts.bytes,
      cacheHits: texts.hits,
      cacheMisses: texts.misses,
    }),
    close: () => indexes.close(),
  };
}
