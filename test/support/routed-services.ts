// Gateway services over a cluster inside this process, with the account u1 of the IMAP and POP3 tests:
// two mail nodes with real disks, one or more gateways, real links.

import type { GatewayServices } from "../../src/gateway/services.ts";
import { systemRandom } from "../../src/lib/random.ts";
import type { DirectoryRow } from "../../src/mail/account.ts";
import { opId } from "../../src/mail/ids.ts";
import type { Principal } from "../../src/mail/mail-store.ts";
import { updateAccount } from "../../src/store/accounts.ts";
import { fakeServices, passwordsOnly } from "./fake-services.ts";
import { MailCluster } from "./mail-cluster.ts";
import type { MailClusterOptions } from "./mail-cluster.ts";

export interface RoutedServices {
  readonly cluster: MailCluster;
  /** Of each gateway, in order. All verify `u1` with `secret`. */
  readonly gateways: readonly GatewayServices[];
  readonly who: Principal;
  /** Disables the account or changes its password, as an operator would. */
  revoke(how: "disable" | "password"): Promise<void>;
  close(): Promise<void>;
}

/** Starts the cluster with an account `u1` in shard 0, which both nodes have. */
export async function routedServices(
  gatewayCount: number,
  options: Partial<MailClusterOptions> = {},
): Promise<RoutedServices> {
  const cluster = await MailCluster.start({ nodes: ["n1", "n2"], ...options });
  while (gatewayCount > cluster.gateways.length) await cluster.startGateway();
  const who = await cluster.addAccount(0);
  const row: DirectoryRow = {
    ...who,
    name: "u1@pabal.test",
    aliases: [],
    state: "active",
    credentials: { hash: "" },
    userVersion: 1,
    overQuota: false,
  };
  return {
    cluster,
    gateways: cluster.gateways.map(({ store }) => servicesOver(store, row)),
    who,
    revoke: async (how) => {
      const { engine } = cluster.node(cluster.primaryOf(0)).opened;
      const patch =
        how === "disable" ? { state: "disabled" as const } : { credentials: { hash: "new" } };
      const change = { opId: opId(systemRandom.hex(16)), retry: false };
      await updateAccount(engine, who, change, patch, new AbortController().signal);
    },
    close: () => cluster.close(),
  };
}

function servicesOver(store: GatewayServices["store"], row: DirectoryRow): GatewayServices {
  return {
    ...fakeServices(),
    store,
    nextOpId: () => opId(systemRandom.hex(16)),
    auth: passwordsOnly((login, password) =>
      Promise.resolve(
        login.startsWith("u1") && password === "secret" ? { kind: "ok", row } : { kind: "refused" },
      ),
    ),
  };
}
