// Makes sure that the Debian packages which the integration and interop tests talk to are there.
// As root it installs what is missing; otherwise it prints the line that does and fails the run.
// Tests are never skipped for want of a program.

import { spawnSync } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { withLock } from "./lock.mjs";

const packages = [
  { name: "swaks", program: "swaks", reason: "sends mail with every SMTP option, and misuse" },
  {
    name: "libnet-ssleay-perl",
    program: "perl",
    proof: ["-MNet::SSLeay", "-e1"],
    reason: "lets swaks speak TLS",
  },
  { name: "isync", program: "mbsync", reason: "synchronises mailboxes both ways over IMAP" },
  { name: "fetchmail", program: "fetchmail", reason: "collects mail by POP3 and IMAP" },
  { name: "neomutt", program: "neomutt", reason: "an IMAP mail reader that people use" },
  { name: "offlineimap3", program: "offlineimap", reason: "another synchroniser over IMAP" },
  { name: "thunderbird", program: "thunderbird", reason: "the mail program that people use" },
  { name: "tmux", program: "tmux", reason: "a terminal for neomutt" },
  { name: "python3", program: "python3", reason: "its imaplib, poplib and smtplib as clients" },
  { name: "gsasl", program: "gsasl", reason: "speaks SCRAM" },
  { name: "openssl", program: "openssl", reason: "looks at TLS from outside" },
  { name: "etcd-server", program: "etcd", reason: "the coordinator of a cluster of machines" },
  { name: "curl", program: "curl", reason: "speaks SMTP, IMAP, POP3 and HTTP from scripts" },
];

const policyPath = "/usr/sbin/policy-rc.d";
const policySaved = `${policyPath}.before-pabal-tests`;
const policy =
  "#!/bin/sh\n# Pabal's tests are installing packages; none of them may start a service.\nexit 101\n";

/** Installs what is missing. @returns true when every program can be run afterwards. */
export async function ensureTestPackages() {
  if (missing().length === 0) return true;
  if (process.getuid?.() !== 0)
    return refuse("these programs are missing, and only root may install them");
  const wait = () => console.error("test-packages: waiting for another run that installs");
  return withLock(join(tmpdir(), "pabal-test-packages.lock"), wait, () => {
    const names = missing().map((entry) => entry.name);
    if (names.length === 0) return true;
    console.error(`test-packages: installing ${names.join(" ")}`);
    const failure = withoutServices(() => install(names));
    if (failure !== undefined) return refuse(failure);
    return missing().length === 0 || refuse("installed, but still not on PATH");
  });
}

function missing() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const works = ({ program, proof }) =>
    folders.some((folder) => runs(join(folder, program))) &&
    (proof === undefined || spawnSync(program, proof, { stdio: "ignore" }).status === 0);
  return packages.filter((entry) => !works(entry));
}

function runs(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function install(names) {
  const options = ["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];
  return apt(["update"]) ?? apt(["install", ...options, ...names]);
}

function apt(args) {
  const result = spawnSync("apt-get", args, {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (result.status === 0) return undefined;
  process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`);
  return `apt-get ${args[0]} failed: ${result.error?.message ?? `exit status ${result.status}`}`;
}

// Debian asks policy-rc.d before it starts a service of a package; 101 says no.
function withoutServices(work) {
  let interrupted = false;
  const onSignal = () => (interrupted = true); // Caught, so that the policy file is put back first.
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  // Ours is there already only if a run was killed half-way: its saved file is the one to restore.
  const left = existsSync(policyPath) && readFileSync(policyPath, "utf8") === policy;
  if (!left && existsSync(policyPath)) renameSync(policyPath, policySaved);
  try {
    writeFileSync(policyPath, policy, { mode: 0o755 });
    const failure = work();
    return interrupted ? "interrupted" : failure;
  } finally {
    rmSync(policyPath, { force: true });
    if (existsSync(policySaved)) renameSync(policySaved, policyPath);
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}

function refuse(why) {
  const gone = missing();
  const names = (gone.length > 0 ? gone : packages).map((entry) => entry.name).join(" ");
  console.error(`test-packages: ${why}`);
  for (const { name, reason } of gone) console.error(`  ${name}: ${reason}`);
  console.error("Install them with this line, then run the tests again:");
  console.error(`  apt-get update && apt-get install -y --no-install-recommends ${names}`);
  return false;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = (await ensureTestPackages()) ? 0 : 1;
}
