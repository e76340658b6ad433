// A disk on which fsync fails: the node acknowledges nothing more, ends at once and never tries the same
// file again; users go on, and nothing acknowledged is lost. Needs strace and the right to trace.

import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { checkByImap, checkReplicas } from "../support/check-ledger.ts";
import { DevCluster } from "../support/dev-cluster.ts";
import { canTrace, failSyncs } from "../support/failing-sync.ts";
import { hashOf, Ledger, ledgerMessage } from "../support/ledger.ts";
import { isAlive, until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).toReversed()) await step();
});

test.skipIf(!canTrace())(
  "a failed fsync ends the node; nothing acknowledged is lost",
  async () => {
    const cluster = await DevCluster.start({ nodes: 2, users: 4, restartAfter: "2s" });
    cleanUp.push(() => cluster.destroy());
    const ledger = new Ledger(join(cluster.folder, "ledger"));
    cleanUp.push(() => ledger.close());
    let serial = 0;
    const send = async (): Promise<string> => {
      const client = await SmtpClient.connect(cluster.gateway().smtp);
      const id = `sync-${serial++}`;
      const message = ledgerMessage(id, "z".repeat(500));
      const sent = { id, user: `u${1 + (serial % 4)}@pabal.test`, hash: hashOf(message) };
      const { kind } = await client.deliver({ to: [sent.user], message });
      await client.quit();
      if (kind === "accepted") ledger.accept(sent);
      else if (kind === "unknown") ledger.unknown.set(id, sent);
      else ledger.refused.add(id);
      return kind;
    };
    for (let n = 0; n < 20; n++) expect(await send()).toBe("accepted");
    const pid = cluster.pid("n1");
    const failing = failSyncs(pid);
    cleanUp.push(() => failing.end());
    await until("the node to end", 30_000, async () => {
      await send();
      return isAlive(pid) ? undefined : true;
    });
    expect(cluster.log()).toContain("this node can't go on; the process ends");
    // The log's file is never synced again: it may say yes to what is lost.
    expect(failing.calls().split("INJECTED").length - 1).toBeLessThanOrEqual(3);
    const syncs = [...failing.calls().matchAll(/fdatasync\((\d+)\)/g)].map(
      ([, descriptor]) => descriptor,
    );
    expect(new Set(syncs).size).toBe(syncs.length);
    await until("mail to be taken again", 30_000, async () =>
      (await send()) === "accepted" ? true : undefined,
    );
    await cluster.settled(90_000);
    expect(await checkByImap(cluster, ledger)).toEqual([]);
    const shards = await cluster.shards();
    const folders = cluster.ports.nodes;
    expect((await cluster.stop()).status).toBe(0);
    expect(await checkReplicas(folders, ledger, shards)).toEqual([]);
  },
  120_000,
);
