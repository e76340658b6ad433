// A gateway process: its part of the cluster, the directory replica, authentication, the mail
// listeners, HTTP with the admin API.

import { createHmac } from "node:crypto";
import { mkdirSync, readFileSync, statfsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import { AccountAdminClient } from "../../cluster/directory/account-admin-client.ts";
import { DirectoryAuthenticator } from "../../cluster/directory/authenticator.ts";
import { nodesOf, primariesOf } from "../../cluster/directory/cluster-view.ts";
import { directoryFolder } from "../../cluster/directory/directory-files.ts";
import { GatewayDirectory } from "../../cluster/directory/gateway-directory.ts";
import { freshLoads, Placement } from "../../cluster/directory/placement.ts";
import { TokenVerifier } from "../../cluster/directory/token-verifier.ts";
import { inspectForced, promoteByForce } from "../../cluster/node/force-promote.ts";
import { GatewayCluster } from "../../cluster/node/gateway-cluster.ts";
import { setDraining } from "../../cluster/node/init-cluster.ts";
import { decodeLoad, encodeLoad, LoadMeter } from "../../cluster/node/load-figures.ts";
import type { LoadFigures } from "../../cluster/node/load-figures.ts";
import { pulseKeys } from "../../cluster/node/pulse-key.ts";
import { memberPattern } from "../../cluster/link/hello.ts";
import { frontEndCounters } from "../../gateway/front-end-counters.ts";
import type { FrontEndCounters } from "../../gateway/front-end-counters.ts";
import { registerGroupMetrics } from "../../gateway/http/group-metrics.ts";
import { startHttp } from "../../gateway/http/server.ts";
import type { GatewayServices } from "../../gateway/services.ts";
import { systemClock } from "../../lib/clock.ts";
import { lockFolder } from "../../lib/folder-lock.ts";
import { opIdMaker, ulidMaker } from "../../lib/id-maker.ts";
import { systemRandom } from "../../lib/random.ts";
import { MailError } from "../../mail/errors.ts";
import {
  deliveryId,
  type MemberId,
  memberId,
  type OpId,
  opId,
  shardId,
  type ShardId,
  shardMax,
} from "../../mail/ids.ts";
import { normaliseDomain } from "../../mail/address.ts";
import type { Config } from "../config/schema.ts";
import { CommandFailure, exitStatus } from "../failure.ts";
import { clusterOptions, shardCountOf } from "./cluster-options.ts";
import { startFrontEnds } from "./front-ends.ts";
import { type GatewayGroups, startGroups } from "./groups.ts";
import { gatewayStatus, shardsShown } from "./gateway-status.ts";
import { listenFailure } from "./listeners.ts";
import type { RunningMember } from "./member-base.ts";
import { addClusterMetrics, addGatewayMetrics, memberMetrics } from "./metrics.ts";
import { publicTls } from "./public-tls.ts";

/** Resolves once every listener is bound. @throws FolderInUse, CommandFailure, MailError */
export async function startGateway(
  config: Config,
  log: Logger,
  signal: AbortSignal,
): Promise<RunningMember> {
  const { dataDir } = config.member;
  mkdirSync(dataDir, { recursive: true });
  const lock = await lockFolder(dataDir, systemRandom);
  const fatal = (error: unknown): void => {
    log.fatal({ err: error }, "this gateway can't go on; the process ends");
    process.exit(1);
  };
  const link = config.listen.link ?? { address: "127.0.0.1", port: 0 };
  const counters = frontEndCounters();
  const meter = new LoadMeter(systemClock, () => loadSample(counters, dataDir));
  const cluster = await GatewayCluster.start(
    {
      ...clusterOptions(config, link, log, fatal),
      retryMs: config.limits.rpc,
      loadFigures: () => encodeLoad(meter.figures()),
    },
    signal,
  );
  const parts = await startParts(config, cluster, log, signal);
  const listeners = await startFrontEnds(config, parts.services, counters, log);
  const { links, shards } = cluster.cluster;
  const metrics = memberMetrics(config, () => notReady(cluster, parts).length === 0);
  addGatewayMetrics(metrics, counters, parts.directory, links, () => nodesOf(shards).length);
  addClusterMetrics(metrics, cluster, parts.directory);
  registerGroupMetrics(metrics, parts.groups.figures);
  const web = await startWeb(config, cluster, parts, metrics, log);
  return {
    stop: async (limit) => {
      parts.stopping = true;
      await Promise.all(listeners.map((listener) => listener.close(limit)));
      await web?.close(limit);
      parts.groups.close();
      await parts.directory.close();
      await cluster.close();
      await lock.release();
    },
  };
}

/** A gateway queues and syncs nothing: its load is CPU, sessions and mail. */
function loadSample(counters: FrontEndCounters, dataDir: string) {
  const { user, system } = process.cpuUsage();
  const { bavail, blocks } = statfsSync(dataDir);
  const all = Object.values(counters);
  return {
    cpuMicros: user + system,
    entries: all.reduce((sum, { messagesStored }) => sum + messagesStored, 0),
    queueBytes: 0,
    fsyncP99Micros: 0,
    diskFreePerMille: blocks === 0 ? 0 : Math.floor((bavail / blocks) * 1000),
    users: 0,
    sessions: all.reduce((sum, { connectionsOpen }) => sum + connectionsOpen, 0),
  };
}

interface Parts {
  readonly directory: GatewayDirectory;
  readonly accounts: AccountAdminClient;
  readonly services: GatewayServices;
  readonly groups: GatewayGroups;
  readonly loadOf: (node: MemberId) => LoadFigures | undefined;
  stopping: boolean;
  wasReady: boolean;
}

async function startParts(
  config: Config,
  gateway: GatewayCluster,
  log: Logger,
  signal: AbortSignal,
): Promise<Parts> {
  const { cluster } = gateway;
  const shardCount = await shardCountOf(cluster, signal);
  const domains = config.domains.map((domain) => checkedDomain(domain));
  const { links, shards } = cluster;
  const directory = await GatewayDirectory.open({
    files: directoryFolder(join(config.member.dataDir, "directory")),
    clusterId: config.cluster.id,
    shardCount,
    links,
    clock: systemClock,
    log,
    freshnessMs: config.directory.freshness,
    cacheMax: config.directory.cacheMax,
  });
  directory.follow(nodesOf(shards));
  shards.onChange(() => directory.follow(nodesOf(shards)));
  const nextOpId = opIdMaker(systemRandom);
  const makeOpId = (): OpId => opId(nextOpId());
  const loadOf = (node: MemberId): LoadFigures | undefined => {
    const figures = links.loads().get(node);
    return figures === undefined ? undefined : decodeLoad(figures);
  };
  const [key] = await pulseKeys(cluster.coordinator, systemRandom);
  const secret = createHmac("sha256", key?.secret ?? "")
    .update("names that nobody has")
    .digest();
  const { accounts, auth } = identity(config, gateway, directory, domains, makeOpId, secret, log);
  const nextDeliveryId = ulidMaker(systemClock, systemRandom);
  const hostName = config.hostName ?? hostname();
  const groups = startGroups(config, gateway, directory, domains, makeOpId, hostName);
  const services: GatewayServices = {
    store: groups.store,
    groups: groups.services,
    directory,
    auth,
    clock: systemClock,
    log,
    hostName,
    domains,
    secureContext: publicTls(config, log),
    nextOpId: makeOpId,
    nextDeliveryId: () => deliveryId(nextDeliveryId()),
    saslMechanisms: config.auth.mechanisms.filter(
      (each) => config.auth.oauth !== undefined || !/OAUTH/.test(each),
    ),
    plaintextLoginAllowed: (address) => config.auth.plaintextOnLoopback && isLoopback(address),
  };
  return { directory, accounts, services, groups, loadOf, stopping: false, wasReady: false };
}

/** Accounts and logins, over the directory. */
function identity(
  config: Config,
  { cluster }: GatewayCluster,
  directory: GatewayDirectory,
  domains: readonly string[],
  nextOpId: () => OpId,
  secret: Uint8Array,
  log: Logger,
): { readonly accounts: AccountAdminClient; readonly auth: DirectoryAuthenticator } {
  const { links, shards } = cluster;
  const shardCount = shards.count;
  const { mechanisms, oauth } = config.auth;
  const hash = {
    memoryBytes: config.auth.hashMemory,
    passes: config.auth.hashPasses,
    scramIterations: mechanisms.some((each) => each.startsWith("SCRAM"))
      ? config.auth.scramIterations
      : 0,
  };
  const primaries = primariesOf(shards);
  const accounts = new AccountAdminClient({
    directory,
    links,
    primaries,
    placement: new Placement({
      shardCount,
      primaries,
      loadOf: freshLoads(() => links.loads(), systemClock),
      random: systemRandom,
    }),
    shardCount,
    domains,
    clock: systemClock,
    nextOpId,
    hash,
  });
  const auth = new DirectoryAuthenticator({
    directory,
    domains,
    clock: systemClock,
    log,
    hash,
    secret,
    ...(oauth === undefined ? {} : { tokens: tokenVerifier(oauth) }),
    queueMax: config.auth.hashQueueMax,
    cache: { most: config.auth.verifiedCacheMax, ageMs: config.auth.verifiedCacheAge },
    guessesPerMinute: config.auth.guessesPerMinute,
    currentRow: (row, limit) => accounts.currentRow(row, limit),
    replaceHash: (row, better, limit) => accounts.replaceHash(row, better, limit),
  });
  return { accounts, auth };
}

function tokenVerifier(oauth: NonNullable<Config["auth"]["oauth"]>): TokenVerifier {
  const { introspection, jwks, scope, loginClaim, cacheAge } = oauth;
  return new TokenVerifier(
    {
      loginClaim,
      cacheMs: cacheAge,
      ...(introspection === undefined ? {} : { introspection }),
      ...(jwks === undefined ? {} : { jwks }),
      ...(scope === undefined ? {} : { scope }),
    },
    systemClock,
  );
}

async function startWeb(
  config: Config,
  gateway: GatewayCluster,
  parts: Parts,
  metrics: Registry,
  log: Logger,
): Promise<Awaited<ReturnType<typeof startHttp>> | undefined> {
  const { http } = config.listen;
  if (http === undefined) return undefined;
  const { tokenFile } = config.admin;
  try {
    return await startHttp({
      ...http,
      log,
      metrics,
      notReady: () => notReady(gateway, parts),
      admin: {
        accounts: parts.accounts,
        groups: parts.groups.admin,
        status: () => gatewayStatus(config, gateway, parts.directory, parts.loadOf),
        cluster: {
          shards: () => shardsShown(gateway),
          setDraining: (node, draining) =>
            setDraining(gateway.cluster.coordinator, checkedMember(node), draining),
          forcePromote: (shard, node, fenced) => {
            const { signal } = new AbortController();
            const run = fenced ? promoteByForce : inspectForced;
            return run(gateway.cluster, checkedShard(shard), checkedMember(node), signal);
          },
        },
        token: tokenFile === undefined ? undefined : readFileSync(tokenFile, "utf8").trim(),
      },
    });
  } catch (error) {
    throw listenFailure("http", http, error);
  }
}

/**
 * At the start everything must be there. Later on a node that is down is no reason to send clients
 * elsewhere: all gateways would be unready at once.
 */
function notReady({ cluster }: GatewayCluster, parts: Parts): readonly string[] {
  if (parts.stopping) return ["stopping"];
  const missing = parts.directory.missing().length;
  const nodes = nodesOf(cluster.shards);
  const down = nodes.filter((node) => !cluster.links.peer(node).up);
  if (parts.wasReady) return down.length < nodes.length ? [] : ["links to all mail nodes"];
  parts.wasReady = missing === 0 && down.length === 0;
  return [
    ...(missing > 0 ? [`directory of ${missing} shards`] : []),
    ...down.map((node) => `link to ${node}`),
  ];
}

/** @throws {MailError} INVALID */
function checkedShard(shard: number): ShardId {
  if (shard <= shardMax) return shardId(shard);
  throw new MailError({ code: "INVALID", why: `${shard} is no shard` });
}

/** @throws {MailError} INVALID */
function checkedMember(text: string): MemberId {
  if (memberPattern.test(text)) return memberId(text);
  throw new MailError({ code: "INVALID", why: `${text} is no member` });
}

function checkedDomain(domain: string): string {
  const normal = normaliseDomain(domain);
  if (normal !== undefined) return normal;
  throw new CommandFailure(`domains: "${domain}" is no domain name`, exitStatus.config);
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.") || address.startsWith("::ffff:127.");
}
