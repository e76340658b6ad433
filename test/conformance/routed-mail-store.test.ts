// The MailStore suite on the routed store: a gateway, links, and two mail nodes with real disks.

import { opId } from "../../src/mail/ids.ts";
import { systemRandom } from "../../src/lib/random.ts";
import { updateAccount } from "../../src/store/accounts.ts";
import { MailCluster } from "../support/mail-cluster.ts";
import { mailStoreConformance } from "./mail-store.ts";
import { never } from "./mail-store-kit.ts";
import type { MailStoreFixture } from "./mail-store-kit.ts";

mailStoreConformance(
  "the routed store",
  async () => {
    const cluster = await MailCluster.start({ nodes: ["n1", "n2"] });
    const fixture: MailStoreFixture = {
      store: cluster.gateway.store,
      addAccount: (quota) => cluster.addAccount(0, quota),
      revoke: async (who, how) => {
        const { engine } = cluster.node(cluster.primaryOf(0)).opened;
        const patch =
          how === "disable" ? { state: "disabled" as const } : { credentials: { hash: "new" } };
        const change = { opId: opId(systemRandom.hex(16)), retry: false };
        await updateAccount(engine, who, change, patch, never);
      },
      close: () => cluster.close(),
    };
    return fixture;
  },
  { modelRuns: 20 },
);
