// A mail node whose disk is full: senders are told to try again, the operator is told what to do, mail
// that was acknowledged stays readable, and room on the disk heals it. Needs the right to mount tmpfs.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { checkByImap, checkReplicas } from "../support/check-ledger.ts";
import { hashOf, Ledger, ledgerMessage } from "../support/ledger.ts";
import { cpuOf, isAlive, until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

const data = mkdtempSync(join(tmpdir(), "pabal-it-full-"));
const disk = join(data, "n1");
mkdirSync(disk);
const mounted = mount(["-t", "tmpfs", "-o", "size=48m", "tmpfs", disk]);
let cluster: DevCluster | undefined;

beforeAll(async () => {
  if (!mounted) return;
  cluster = await DevCluster.start({ data, nodes: 2, users: 2, set: ["limits.rpc=2s"] });
}, 90_000);
afterAll(async () => {
  await cluster?.destroy();
  if (mounted) execFileSync("umount", ["-l", disk]);
  rmSync(data, { recursive: true, force: true });
});

test.skipIf(!mounted)(
  "disk full on one node: 4yz, nothing acknowledged is lost, room heals it",
  { timeout: 120_000 },
  async () => {
    if (cluster === undefined) throw new Error("no cluster");
    const ledger = new Ledger(join(cluster.folder, "ledger"));
    const text = `${"x".repeat(70)}\r\n`.repeat(1800);
    const refusals = new Set<string>();
    const send = async (id: string): Promise<boolean> => {
      const client = await SmtpClient.connect(cluster?.gateway().smtp ?? 0);
      const message = ledgerMessage(id, text);
      const sent = { id, user: "u1@pabal.test", hash: hashOf(message) };
      const outcome = await client.deliver({ to: [sent.user], message });
      await client.quit();
      if (outcome.kind === "accepted") ledger.accept(sent);
      else if (outcome.kind === "unknown") ledger.unknown.set(id, sent);
      else ledger.refused.add(id);
      if (outcome.kind !== "accepted") refusals.add("why" in outcome ? outcome.why : outcome.reply);
      return outcome.kind === "accepted";
    };
    let serial = 0;
    let inARow = 0;
    while (inARow < 3 && serial < 600) inARow = (await send(`full-${serial++}`)) ? 0 : inARow + 1;
    expect(inARow).toBe(3);
    for (const reply of refusals) expect(reply).toMatch(/^45[12] 4\.\d\.\d /);
    expect(ledger.accepted.size).toBeGreaterThan(50);

    // What is wrong and what to do is in the log, and the members don't run hot on it.
    expect(cluster.log()).toContain("the disk is full: make room, then start this node again");
    await until("a start on the full disk to say so", 10_000, () =>
      cluster?.log().includes(`the disk of ${disk} is full: make room there`) === true
        ? true
        : undefined,
    );
    const gateways = cluster.ports.gateways.map(({ pid }) => pid);
    const before = gateways.map((pid) => cpuOf(pid));
    await wait(3000);
    gateways.forEach((pid, n) => {
      expect(isAlive(pid)).toBe(true);
      expect(cpuOf(pid) - (before[n] ?? 0)).toBeLessThan(1500);
    });

    mount(["-o", "remount,size=256m", disk]);
    expect(readdirSync(disk).filter((name) => name.startsWith("LOCK.")).length).toBeLessThan(3);
    await until("mail to be taken again", 30_000, async () =>
      (await send(`full-${serial++}`)) ? true : undefined,
    );
    await cluster.settled();
    expect(await checkByImap(cluster, ledger)).toEqual([]);
    const folders = cluster.ports.nodes;
    const shards = await cluster.shards();
    expect((await cluster.stop()).status).toBe(0);
    expect(await checkReplicas(folders, ledger, shards)).toEqual([]);
    ledger.close();
    process.stdout.write(
      `disk-full: ${ledger.accepted.size} acknowledged; refused with ${[...refusals].join("; ")}\n`,
    );
  },
);

function mount(args: readonly string[]): boolean {
  try {
    execFileSync("mount", args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
