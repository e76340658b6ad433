// How a process reaches the coordinator that its configuration names: a link to the embedded one's
// process, or etcd.

import { readFileSync } from "node:fs";
import type { Logger } from "pino";
import type { Coordinator } from "../../cluster/coordinator/coordinator.ts";
import { EtcdCoordinator } from "../../cluster/coordinator/etcd.ts";
import { RemoteCoordinator } from "../../cluster/coordinator/remote.ts";
import { MemoryAddressBook } from "../../cluster/link/address-book.ts";
import type { SelfDescription } from "../../cluster/link/hello.ts";
import { LinkManager } from "../../cluster/link/link-manager.ts";
import { systemClock } from "../../lib/clock.ts";
import { systemRandom } from "../../lib/random.ts";
import { memberId } from "../../mail/ids.ts";
import type { Config } from "../config/schema.ts";
import { linkSecurity, ownRoutes, splitHostPort } from "./member-base.ts";

export interface CoordinatorWay {
  readonly coordinator: Coordinator;
  close(): void;
}

/** For tools that only read and write the shard table. */
export function reachCoordinator(
  config: Config,
  self: SelfDescription,
  log: Logger,
): CoordinatorWay {
  if (config.cluster.coordinator.kind === "etcd") {
    const coordinator = etcdCoordinator(config);
    return { coordinator, close: () => coordinator.close() };
  }
  const addresses = new MemoryAddressBook();
  const member = memberId(config.cluster.coordinator.member);
  addresses.set(member, coordinatorAddress(config));
  const links = new LinkManager({
    self,
    addresses,
    security: linkSecurity(config),
    clock: systemClock,
    log,
    random: systemRandom,
  });
  const coordinator = new RemoteCoordinator({ peer: links.peer(member), clock: systemClock });
  return {
    coordinator,
    close: () => {
      coordinator.close();
      links.close();
    },
  };
}

/** Where the embedded coordinator's links are accepted; the cross checks saw to it that it is given. */
export function coordinatorAddress(config: Config): {
  readonly host: string;
  readonly port: number;
} {
  const { member, address } = config.cluster.coordinator;
  return ownRoutes(config).get(memberId(member))?.link ?? splitHostPort(address ?? "");
}

/** The etcd of the configuration. Its keys lie under `pabal/<cluster id>/`. */
export function etcdCoordinator(config: Config): EtcdCoordinator {
  const { member, endpoints, ca, cert, key, username, passwordFile } = config.cluster.coordinator;
  const route = config.cluster.routes[config.member.id]?.[member]?.link;
  const tls =
    ca === undefined
      ? undefined
      : {
          ca: readFileSync(ca),
          ...(cert === undefined ? {} : { cert: readFileSync(cert) }),
          ...(key === undefined ? {} : { key: readFileSync(key) }),
        };
  return new EtcdCoordinator({
    hosts: route === undefined ? endpoints : [route],
    namespace: `pabal/${config.cluster.id}/`,
    clock: systemClock,
    nonce: () => systemRandom.hex(12),
    ...(tls === undefined ? {} : { tls }),
    ...(username === undefined || passwordFile === undefined
      ? {}
      : { auth: { username, password: readFileSync(passwordFile, "utf8").trim() } }),
  });
}
