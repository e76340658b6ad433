// `npm test [-- kind… | file…]`: runs the tests of the named kinds (default: all but chaos, which CI has
// as a stage of its own) in one vitest process. The last line is always `N passed, N failed`, even when vitest itself dies; the exit
// status is not 0 when a test failed or none ran. `--long` asks tests for their long form
// (they look at PABAL_TEST_LONG). Leaves packages and dist/ to scripts/set-up.mjs.

import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureTestPackages } from "./test-packages.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const kinds = ["unit", "conformance", "sim", "fuzz", "security", "integration", "interop"];
const kindsOnDemand = ["chaos"];
const kindsRepeated = ["conformance", "security", "integration", "interop", "chaos"];
const filesRepeatedMax = 3;
const needPackages = ["conformance", "integration", "interop", "chaos"];

const args = process.argv.slice(2);
const long = args.includes("--long");
const known = [...kinds, ...kindsOnDemand];
const wanted = args.filter((arg) => known.includes(arg));
const rest = args.filter((arg) => !known.includes(arg) && arg !== "--long");
const chosen = wanted.length === 0 ? kinds : known.filter((kind) => wanted.includes(kind));

const { passed, failed, skipped, status } = await runTests();
const total = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
process.stdout.write(`${total}\n`);
process.exitCode = status;

async function runTests() {
  const nothing = { passed: 0, failed: 1, skipped: 0, status: 1 };
  const withTests = chosen.filter(hasTests);
  if (withTests.length === 0) {
    console.error(`test: there are no tests in ${chosen.map((kind) => `test/${kind}`).join(", ")}`);
    return nothing;
  }
  if (needPackages.some((kind) => withTests.includes(kind)) && !(await ensureTestPackages())) {
    return nothing;
  }
  const first = await runVitest(withTests, rest);
  const failed = first.files.filter((counts) => counts.failed > 0);
  if (failed.length === 0 || failed.length > filesRepeatedMax || !failed.every(mayRepeat)) {
    return judge(first);
  }
  const names = failed.map(({ file }) => file);
  process.stdout.write(`\nREPEATED ${names.join(" ")}: failed first, see above\n`);
  const again = await runVitest(withTests, names);
  const others = first.files.filter(({ file }) => !names.includes(file));
  return judge({ files: [...others, ...again.files], status: again.status });
}

function mayRepeat({ file, once }) {
  return !once && kindsRepeated.some((kind) => file.startsWith(`test/${kind}/`));
}

function hasTests(kind) {
  try {
    const names = readdirSync(join(root, "test", kind), { recursive: true });
    return names.some((name) => name.endsWith(".test.ts"));
  } catch (error) {
    if (error.code === "ENOENT") return false;
    throw error;
  }
}

/** @returns the counts of each file, as scripts/reporter.ts gives them, and vitest's exit status. */
async function runVitest(projects, filters) {
  const folder = mkdtempSync(join(tmpdir(), "pabal-test-"));
  try {
    const summaryPath = join(folder, "summary.json");
    const status = await spawnVitest(projects, filters, summaryPath);
    return { files: readSummary(summaryPath), status };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** @returns the exit status; 128 + the signal's number when a signal ended it. */
function spawnVitest(projects, filters, summaryPath) {
  const env = { ...process.env, PABAL_TEST_SUMMARY: summaryPath };
  if (long) env.PABAL_TEST_LONG = "1";
  const child = spawn(
    process.execPath,
    [
      join(root, "node_modules", "vitest", "vitest.mjs"),
      "run",
      ...projects.map((name) => `--project=${name}`),
      ...filters,
    ],
    { cwd: root, env, stdio: ["ignore", "inherit", "inherit"] },
  );
  const stop = () => child.kill("SIGTERM");
  process.on("SIGTERM", stop);
  process.on("SIGINT", ignore); // Ctrl-C reaches vitest too; we stay to print the last line.
  return new Promise((resolve) => {
    child.on("error", (error) => {
      console.error(`test: ${error.message}`);
      resolve(1);
    });
    child.on("close", (code, signal) => {
      process.off("SIGTERM", stop);
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}

function ignore() {}

function readSummary(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    console.error("test: vitest ended without a result");
    return [{ file: "", passed: 0, failed: 1, skipped: 0, once: true }];
  }
}

function judge({ files, status }) {
  const sum = (key) => files.reduce((total, counts) => total + counts[key], 0);
  const counts = { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
  if (counts.passed + counts.failed === 0) {
    console.error("test: no test ran");
    return { ...counts, failed: 1, status: status || 1 };
  }
  if (status !== 0 && counts.failed === 0) {
    console.error(`test: vitest ended with status ${status}`);
    return { ...counts, failed: 1, status };
  }
  return { ...counts, status: counts.failed > 0 ? status || 1 : 0 };
}
