// Cyrus IMAP (LMTP and IMAP) from Debian with Postfix in front, in a temporary folder. Its package of
// the IMAP server can't be installed beside Dovecot's: that one is unpacked into the folder instead.
// Needs root.

import { execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { behindPostfix, freePort, install, postfixPackages, startPostfix, until } from "./peers.ts";
import type { Target } from "./target.ts";

const programs = "/usr/lib/cyrus/bin";
const unpackWithinMs = 120_000;
const domain = "pabal.test";

/** Starts Cyrus, then Postfix in front of it. @param aliases as for `startPeers` */
export async function startCyrus(
  aliases: ReadonlyMap<string, readonly string[]>,
): Promise<readonly Target[]> {
  install(["cyrus-common", ...postfixPackages]);
  const folder = mkdtempSync(join(tmpdir(), "pabal-peers-"));
  chmodSync(folder, 0o755);
  const [imap, lmtp, smtp] = [await freePort(), await freePort(), await freePort()];
  const pid = await startMaster(folder, unpacked(folder), { imap, lmtp });
  const postfix = await startPostfix(folder, smtp, lmtp, aliases);
  const name = `Cyrus ${versionOf(folder)}`;
  const store = { name, imap, lmtp, pid, stop: () => process.kill(pid, "SIGTERM") };
  return behindPostfix(folder, store, { smtp, pid: postfix });
}

/** @returns the path of `imapd`. */
function unpacked(folder: string): string {
  const options = { cwd: folder, stdio: "ignore", timeout: unpackWithinMs } as const;
  execFileSync("apt-get", ["download", "-q", "cyrus-imapd"], options);
  const [file = ""] = packagesIn(folder);
  execFileSync("dpkg", ["-x", file, join(folder, "unpacked")], options);
  return join(folder, "unpacked", programs, "imapd");
}

function packagesIn(folder: string): readonly string[] {
  return readdirSync(folder).filter((name) => name.endsWith(".deb"));
}

function versionOf(folder: string): string {
  return /cyrus-imapd_(\d[\d.]*)/.exec(packagesIn(folder)[0] ?? "")?.[1] ?? "";
}

/** As packaged, but for what is the same for Dovecot here: any password, mailboxes at the first delivery. */
async function startMaster(
  folder: string,
  imapd: string,
  ports: { readonly imap: number; readonly lmtp: number },
): Promise<number> {
  const home = join(folder, "cyrus");
  for (const path of ["", "config", "spool", "run"]) mkdirSync(join(home, path));
  const settings = join(home, "imapd.conf");
  writeFileSync(
    settings,
    `configdirectory: ${home}/config
defaultpartition: default
partition-default: ${home}/spool
proc_path: ${home}/run/proc
mboxname_lockpath: ${home}/run/lock
lmtpsocket: ${home}/run/lmtp
idlesocket: ${home}/run/idle
notifysocket: ${home}/run/notify
sievedir: ${home}/sieve
admins: cyrus
servername: localhost
virtdomains: userid
defaultdomain: ${domain}
unixhierarchysep: yes
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: alwaystrue
autocreate_quota: 0
autocreate_post: yes
duplicatesuppression: 0
`,
  );
  const listen = (port: number): string => `listen="127.0.0.1:${port}" proto="tcp4"`;
  const services = join(home, "cyrus.conf");
  writeFileSync(
    services,
    `START {
  recover cmd="${programs}/ctl_cyrusdb -C ${settings} -r"
}
SERVICES {
  imap cmd="${imapd} -C ${settings}" ${listen(ports.imap)} prefork=1
  lmtp cmd="${programs}/lmtpd -C ${settings} -a" ${listen(ports.lmtp)} prefork=8 maxchild=30
}
EVENTS {
  checkpoint cmd="${programs}/ctl_cyrusdb -C ${settings} -c" period=30
}
`,
  );
  execFileSync("chown", ["-R", "cyrus:mail", home]);
  const pidFile = join(home, "master.pid");
  const master = spawn(
    join(programs, "master"),
    ["-C", settings, "-M", services, "-p", pidFile, "-d"],
    { stdio: "ignore", detached: true },
  );
  master.unref();
  await until(() => existsSync(pidFile) && readFileSync(pidFile, "utf8").trim() !== "");
  // Postfix would try again much later.
  await until(() => listens(ports.lmtp) && listens(ports.imap));
  return Number(readFileSync(pidFile, "utf8").trim());
}

/** Linux tells its listening sockets: address and port in hex, state 0A. */
function listens(port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return new RegExp(`:${hex} [0-9A-F]+:0000 0A `).test(readFileSync("/proc/net/tcp", "utf8"));
}
