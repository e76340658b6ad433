// A mail node whose disk is full: senders get 452, deletions, flags and reads go on, a restart works,
// mail that was acknowledged stays, and room on the disk heals it. Needs the right to mount tmpfs.

import { execFileSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DevCluster } from "../support/dev-cluster.ts";
import { checkByImap, checkReplicas } from "../support/check-ledger.ts";
import { tellFigures } from "../support/figures.ts";
import { hashOf, Ledger, ledgerMessage } from "../support/ledger.ts";
import { ImapClient } from "../support/imap-client.ts";
import { isAlive, until } from "../support/processes.ts";
import { SmtpClient } from "../support/smtp-client.ts";

const data = mkdtempSync(join(tmpdir(), "pabal-it-full-"));
const disk = join(data, "n1");
mkdirSync(disk);
const mounted = mount(["-t", "tmpfs", "-o", "size=96m", "tmpfs", disk]);
let cluster: DevCluster | undefined;

beforeAll(async () => {
  if (!mounted) return;
  cluster = await DevCluster.start({
    data,
    nodes: 2,
    users: 2,
    set: ["limits.rpc=5s", "disk.ballast=64MiB"],
  });
}, 90_000);
afterAll(async () => {
  await cluster?.destroy();
  if (mounted) execFileSync("umount", ["-l", disk]);
  rmSync(data, { recursive: true, force: true });
});

test.skipIf(!mounted)(
  "disk full on one node: 452, deletions and restarts work, nothing is lost, room heals it",
  { timeout: 180_000 },
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
    for (let n = 0; n < 5; n++) {
      const client = await SmtpClient.connect(cluster.gateway().smtp);
      const message = ledgerMessage(`deleted-${n}`, "short");
      const { kind } = await client.deliver({ to: ["u2@pabal.test"], message });
      expect(kind).toBe("accepted");
      // Some of them are deleted below, so they may be there or not.
      const sent = { id: `deleted-${n}`, user: "u2@pabal.test", hash: hashOf(message) };
      ledger.unknown.set(sent.id, sent);
      await client.quit();
    }
    while (inARow < 3 && serial < 1000) inARow = (await send(`full-${serial++}`)) ? 0 : inARow + 1;
    expect(inARow).toBe(3);
    for (const reply of refusals) expect(reply).toMatch(/^452 4\.3\.1 /);
    expect(ledger.accepted.size).toBeGreaterThan(50);
    const pids = cluster.ports.nodes.map(({ pid }) => pid);
    expect(pids.every(isAlive)).toBe(true);
    expect(existsSync(join(disk, "BALLAST"))).toBe(true);

    // Whatever frees room, or needs none, goes on.
    const { password } = cluster.ports;
    const open = async (): Promise<ImapClient> => {
      const to = cluster?.gateway().imap ?? 0;
      const session = await ImapClient.connect(to, { user: "u2@pabal.test", password });
      await session.ok("SELECT INBOX");
      return session;
    };
    let imap = await open();
    const refused = await until("APPEND to be refused", 30_000, async () => {
      const reply = await imap.command("APPEND Trash ", Buffer.from(text));
      return reply.status === "OK" ? undefined : reply;
    });
    expect([refused.status, refused.text]).toEqual([
      "NO",
      "[UNAVAILABLE] The mail store is full, try again later",
    ]);
    await imap.ok("UID STORE 1:3 +FLAGS.SILENT (\\Deleted)");
    await imap.ok("EXPUNGE");
    const left = await imap.ok("UID FETCH 1:* (FLAGS BODY.PEEK[])");
    expect(left.untagged.filter(({ literals }) => literals.length > 0)).toHaveLength(2);

    // Somebody else takes what is left: the ballast makes room for the next deletion.
    fillUp(join(disk, "filler"));
    await until("the ballast to be given up", 60_000, async () => {
      const flags = `UID STORE 4 FLAGS (k${serial++} \\Seen)`;
      const answer = await imap.command(flags).catch(() => undefined);
      if (answer === undefined) imap = await open();
      return existsSync(join(disk, "BALLAST")) ? undefined : true;
    });
    await cluster.restart("n1");
    await cluster.ready(["n1"]);
    await until("a deletion after the restart", 30_000, async () => {
      const answer = await imap
        .command("UID STORE 4 +FLAGS.SILENT (\\Deleted)")
        .catch(() => undefined);
      if (answer === undefined) imap = await open();
      return answer?.status === "OK" ? true : undefined;
    });
    await imap.ok("EXPUNGE");
    await imap.logout();

    mount(["-o", "remount,size=256m", disk]);
    expect(readdirSync(disk).filter((name) => name.startsWith("LOCK.")).length).toBeLessThan(3);
    await until("mail to be taken again", 30_000, async () =>
      (await send(`full-${serial++}`)) ? true : undefined,
    );
    await until("new ballast", 10_000, () => existsSync(join(disk, "BALLAST")) || undefined);
    await cluster.settled();
    expect(await checkByImap(cluster, ledger)).toEqual([]);
    const folders = cluster.ports.nodes;
    const shards = await cluster.shards();
    expect((await cluster.stop()).status).toBe(0);
    expect(await checkReplicas(folders, ledger, shards)).toEqual([]);
    ledger.close();
    const { size } = ledger.accepted;
    const how = [...refusals].join("; ");
    tellFigures(`F11: ${size} acknowledged, 0 lost, 0 duplicated, refused with ${how}`);
  },
);

/** Takes all room that is left. */
function fillUp(file: string): void {
  const descriptor = openSync(file, "w");
  try {
    for (const piece of [1_048_576, 65_536, 4096]) {
      for (;;) if (writeSync(descriptor, Buffer.alloc(piece)) < piece) break;
    }
  } catch {
    // No room any more.
  } finally {
    closeSync(descriptor);
  }
}

function mount(args: readonly string[]): boolean {
  try {
    execFileSync("mount", args, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
