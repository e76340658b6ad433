// Makes a clone ready to run: installs the locked packages and builds dist/, each only when it is
// missing or out of date. Runs before `npm start` and `npm test`; plain JavaScript, because nothing
// is installed yet. `node scripts/set-up.mjs packages` leaves out the build.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { withLock } from "./lock.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const at = (...parts) => join(root, ...parts);
const packagesStamp = at("node_modules", ".pabal-lock-stamp");
const buildStamp = at("dist", ".stamp");
const programLink = at("node_modules", ".bin", "pabal");
const withBuild = process.argv[2] !== "packages";

const lockHash = createHash("sha256")
  .update(readFileSync(at("package-lock.json")))
  .digest("hex");

class CommandFailed extends Error {}

try {
  if (!ready()) await withLock(at(".setup-lock"), sayWaiting, setUp);
} catch (error) {
  if (!(error instanceof CommandFailed)) throw error;
  console.error(`set-up: ${error.message}`);
  process.exitCode = 1;
}

function setUp() {
  if (!packagesReady()) installPackages();
  if (!withBuild) return;
  if (!buildReady()) build();
  if (!programReady()) linkProgram();
}

function sayWaiting() {
  console.error("set-up: waiting for another set-up of this folder");
}

function ready() {
  return packagesReady() && (!withBuild || (buildReady() && programReady()));
}

function packagesReady() {
  if (readIfThere(packagesStamp) === lockHash) return true;
  if (!installedAsLocked()) return false;
  writeFileSync(packagesStamp, lockHash);
  return true;
}

// npm leaves a list of what it installed; after a plain `npm ci` there is nothing left to do.
function installedAsLocked() {
  const listed = readIfThere(at("node_modules", ".package-lock.json"));
  if (listed === undefined) return false;
  const installed = packagesOf(listed);
  const locked = packagesOf(readFileSync(at("package-lock.json"), "utf8"));
  const same = (path) => installed[path]?.version === locked[path]?.version;
  return (
    Object.keys(installed).every(same) &&
    Object.keys(locked).every((path) => path === "" || locked[path].optional || same(path))
  );
}

function packagesOf(text) {
  try {
    return JSON.parse(text).packages;
  } catch {
    return {}; // Cut off when npm was killed: then nothing counts as installed.
  }
}

function installPackages() {
  console.error("set-up: installing packages (npm ci)");
  run("npm", ["ci", "--include=dev", "--no-audit", "--no-fund"]);
  writeFileSync(packagesStamp, lockHash);
}

function buildReady() {
  return readIfThere(buildStamp) === sourcesStamp();
}

function build() {
  console.error("set-up: building dist/");
  const stamp = sourcesStamp(); // Before tsc reads: a file saved meanwhile makes the next run build.
  const fresh = at(`dist.${process.pid}.tmp`);
  const old = at(`dist.${process.pid}.old`);
  try {
    run(process.execPath, [tsc(), "-p", "tsconfig.json", "--outDir", fresh]);
    if (existsSync(join(fresh, "main.js"))) chmodSync(join(fresh, "main.js"), 0o755);
    writeFileSync(join(fresh, ".stamp"), stamp);
    // Swapped whole, so that a file removed from src/ does not live on, and a running cluster
    // that starts a member meets a full dist/.
    if (existsSync(at("dist"))) renameSync(at("dist"), old);
    renameSync(fresh, at("dist"));
  } finally {
    rmSync(fresh, { recursive: true, force: true });
    rmSync(old, { recursive: true, force: true });
  }
}

// npm links the programs of a package's dependencies, but not its own: `npx --no-install pabal`.
function programReady() {
  return lstatSync(programLink, { throwIfNoEntry: false }) !== undefined;
}

function linkProgram() {
  symlinkSync(join("..", "..", "dist", "main.js"), programLink);
}

function tsc() {
  const folder = at("node_modules", "typescript");
  return join(folder, JSON.parse(readFileSync(join(folder, "package.json"), "utf8")).bin.tsc);
}

function sourcesStamp() {
  const hash = createHash("sha256").update(lockHash);
  const files = readdirSync(at("src"), { recursive: true }).filter((name) => name.endsWith(".ts"));
  for (const path of ["tsconfig.json", ...files.sort().map((name) => join("src", name))]) {
    const { mtimeMs, size } = statSync(at(path));
    hash.update(`${path} ${mtimeMs} ${size}\n`);
  }
  return hash.digest("hex");
}

function run(program, args) {
  const result = spawnSync(program, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (result.status === 0) return;
  process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`);
  const reason = result.error?.message ?? result.signal ?? `exit status ${result.status}`;
  throw new CommandFailed(`${[program, ...args].join(" ")} failed: ${reason}`);
}

function readIfThere(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    throw error;
  }
}
