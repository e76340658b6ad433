// Dovecot (IMAP, POP3, LMTP) and Postfix (SMTP, delivering to that Dovecot) from Debian, configured for
// speed in temporary folders: what Pabal is measured against. Needs root; installs them when missing.

import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { Target } from "./target.ts";

export const postfixPackages = ["postfix", "postfix-lmdb"];
const packages = ["dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd", ...postfixPackages];
const userCount = 100;
const commandWithinMs = 30_000;
const domain = "pabal.test";
const mailUser = 8; // Debian's `mail`.

/**
 * Starts Dovecot, then Postfix in front of it.
 * @param aliases Addresses that Postfix expands, each to so many users.
 */
export async function startPeers(
  aliases: ReadonlyMap<string, readonly string[]> = new Map(),
): Promise<readonly Target[]> {
  install(packages);
  const folder = mkdtempSync(join(tmpdir(), "pabal-peers-"));
  chmodSync(folder, 0o755);
  const [imap, pop3, lmtp, smtp] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort(),
  ];
  const dovecot = await startDovecot(folder, { imap, pop3, lmtp });
  const postfix = await startPostfix(folder, smtp, lmtp, aliases);
  const name = `Dovecot ${version("dovecot", ["--version"])}`;
  const stop = (): void => {
    const options = { stdio: "ignore", timeout: commandWithinMs } as const;
    spawnSync("doveadm", ["-c", join(folder, "dovecot.conf"), "stop"], options);
  };
  const store = { name, imap, pop3, lmtp, pid: dovecot, stop };
  return behindPostfix(folder, store, { smtp, pid: postfix });
}

/** A peer that keeps mail, as it runs. */
export interface PeerStore {
  readonly name: string;
  readonly imap: number;
  readonly pop3?: number;
  readonly lmtp: number;
  /** Of its master. */
  readonly pid: number;
  readonly stop: () => void;
}

/** The peer alone, and with Postfix in front: the second one's end is the end of both. */
export function behindPostfix(
  folder: string,
  { name, imap, pop3, lmtp, pid, stop }: PeerStore,
  postfix: { readonly smtp: number; readonly pid: number },
): readonly Target[] {
  const users = Array.from({ length: userCount }, (_, index) => `u${index + 1}@${domain}`);
  const common = { users, password: "secret" };
  let running = 2;
  const stopped = (): void => {
    if (--running === 0) rmSync(folder, { recursive: true, force: true });
  };
  return [
    {
      ...common,
      name,
      imap,
      ...(pop3 === undefined ? {} : { pop3 }),
      lmtp,
      processes: () => tree(pid).map((each) => ({ part: "peer", pid: each })),
      stop: async () => stopped(),
    },
    {
      ...common,
      name: `Postfix + ${name.split(" ")[0] ?? ""}`,
      smtp: postfix.smtp,
      queued: () => queuedIn(join(folder, "queue")),
      processes: () =>
        [...tree(pid), ...tree(postfix.pid)].map((each) => ({ part: "all", pid: each })),
      stop: async () => {
        const options = { stdio: "ignore", timeout: commandWithinMs } as const;
        spawnSync("postfix", ["-c", join(folder, "postfix"), "stop"], options);
        stop();
        stopped();
      },
    },
  ];
}

/** Installs Debian's packages that are missing, and keeps their services from starting. */
export function install(wanted: readonly string[]): void {
  const missing = wanted.filter((name) => spawnSync("dpkg", ["-s", name]).status !== 0);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0)
    throw new Error(
      `peers are missing: apt-get install --no-install-recommends ${missing.join(" ")}`,
    );
  const policy = "/usr/sbin/policy-rc.d";
  const had = existsSync(policy);
  if (!had) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    execFileSync("apt-get", ["update", "-q"], { env, stdio: "ignore" });
    execFileSync("apt-get", ["install", "-yq", "--no-install-recommends", ...missing], {
      env,
      stdio: "inherit",
    });
  } finally {
    if (!had) rmSync(policy);
  }
}

interface DovecotPorts {
  readonly imap: number;
  readonly pop3: number;
  readonly lmtp: number;
}

/** mdbox, processes reused, fsync on delivery: Dovecot's fastest safe set-up. Returns the master's pid. */
async function startDovecot(folder: string, ports: DovecotPorts): Promise<number> {
  const mail = join(folder, "mail");
  mkdirSync(mail);
  chownSync(mail, mailUser, mailUser);
  const service = (name: string, port: number): string =>
    `service ${name} {\n  service_count = 0\n  process_min_avail = 2\n  client_limit = 2000\n  inet_listener ${name.replace("-login", "")} {\n    address = 127.0.0.1\n    port = ${port}\n  }\n`;
  writeFileSync(
    join(folder, "dovecot.conf"),
    `base_dir = ${folder}/run
state_dir = ${folder}/state
log_path = ${folder}/dovecot.log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_cache_size = 10M
mail_location = mdbox:${mail}/%u
mail_fsync = always
mail_uid = ${mailUser}
mail_gid = ${mailUser}
first_valid_uid = 8
mail_max_userip_connections = 20000
default_vsz_limit = 2G
default_process_limit = 20000
default_client_limit = 40000
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=${mailUser} gid=${mailUser} home=${mail}/%u allow_all_users=yes
}
namespace inbox {
  inbox = yes
}
${service("imap-login", ports.imap)}  inet_listener imaps {
    port = 0
  }
}
${service("pop3-login", ports.pop3)}  inet_listener pop3s {
    port = 0
  }
}
service imap {
  service_count = 0
  process_min_avail = 4
}
service lmtp {
  service_count = 0
  process_min_avail = 8
  inet_listener lmtp {
    address = 127.0.0.1
    port = ${ports.lmtp}
  }
}
`,
  );
  // Daemons keep what they inherit: a pipe would never end.
  execFileSync("dovecot", ["-c", join(folder, "dovecot.conf")], {
    stdio: "ignore",
    timeout: commandWithinMs,
  });
  const pidFile = join(folder, "run", "master.pid");
  await until(() => existsSync(pidFile));
  return Number(readFileSync(pidFile, "utf8").trim());
}

/** Stock Postfix delivering by LMTP. Returns the master's pid. */
export async function startPostfix(
  folder: string,
  port: number,
  lmtp: number,
  aliases: ReadonlyMap<string, readonly string[]>,
): Promise<number> {
  const config = join(folder, "postfix");
  const [queue, data] = [join(folder, "queue"), join(folder, "postfix-data")];
  for (const path of [config, queue, data]) mkdirSync(path);
  execFileSync("chown", ["postfix", data]);
  const lines = [...aliases].map(([name, users]) => `${name} ${users.join(",\n  ")}\n`);
  writeFileSync(join(config, "aliases"), lines.join(""));
  const master = readFileSync("/usr/share/postfix/master.cf.dist", "utf8")
    .replace(/^smtp +inet.*$/m, `127.0.0.1:${port} inet n - n - 100 smtpd`)
    .replace(/^(\S+ +\S+ +\S+ +\S+ +)y/gm, "$1n");
  writeFileSync(join(config, "master.cf"), master);
  writeFileSync(
    join(config, "main.cf"),
    `compatibility_level = 3.6
queue_directory = ${queue}
data_directory = ${data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = localhost
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
virtual_mailbox_domains = ${domain}
virtual_mailbox_maps = static:all
virtual_alias_maps = texthash:${config}/aliases
virtual_alias_expansion_limit = 1000000
virtual_transport = lmtp:inet:127.0.0.1:${lmtp}
maillog_file =
smtpd_client_connection_count_limit = 0
smtpd_recipient_restrictions = permit_mynetworks, reject
default_process_limit = 100
`,
  );
  execFileSync("postfix", ["-c", config, "start"], { stdio: "ignore", timeout: commandWithinMs });
  const pidFile = join(queue, "pid", "master.pid");
  await until(() => existsSync(pidFile));
  return Number(readFileSync(pidFile, "utf8").trim());
}

/** Messages in Postfix' queue, in whatever state. */
function queuedIn(queue: string): number {
  const states = ["maildrop", "incoming", "active", "deferred", "hold"];
  const names = states.flatMap((state) =>
    readdirSync(join(queue, state), { encoding: "utf8", recursive: true }),
  );
  return names.filter((name) => /(^|\/)[0-9A-Za-z]{6,}$/.test(name)).length;
}

/** A process and all below it. */
function tree(root: number): readonly number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]));
    } catch {
      // It ended while we looked.
    }
  }
  const found = [root];
  for (let index = 0; index < found.length; index++) {
    for (const [pid, parent] of parents) if (parent === found[index]) found.push(pid);
  }
  return found;
}

function version(command: string, args: readonly string[]): string {
  return spawnSync(command, [...args], { encoding: "utf8" }).stdout.split(/\s/)[0] ?? "";
}

export async function until(done: () => boolean): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (done()) return;
    await wait(50);
  }
  throw new Error("a peer did not start");
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => {
    server.listen(0, "127.0.0.1", done);
  });
  const address = server.address();
  await new Promise((done) => {
    server.close(done);
  });
  return typeof address === "object" && address !== null ? address.port : 0;
}
