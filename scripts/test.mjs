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
  const folder = mkdtempSync(join(tmpdir(), "pabal-test-"));
  try {
    const summaryPath = join(folder, "summary.json");
    const status = await runVitest(withTests, summaryPath);
    return judge(readSummary(summaryPath), status);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
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

/** @returns the exit status; 128 + the signal's number when a signal ended it. */
function runVitest(projects, summaryPath) {
  const env = { ...process.env, PABAL_TEST_SUMMARY: summaryPath };
  if (long) env.PABAL_TEST_LONG = "1";
  const child = spawn(
    process.execPath,
    [
      join(root, "node_modules", "vitest", "vitest.mjs"),
      "run",
      ...projects.map((name) => `--project=${name}`),
      ...rest,
    ],
    { cwd: root, env, stdio: ["ignore", "inherit", "inherit"] },
  );
  process.on("SIGTERM", () => child.kill("SIGTERM"));
  process.on("SIGINT", () => {}); // Ctrl-C reaches vitest too; we stay to print the last line.
  return new Promise((resolve) => {
    child.on("error", (error) => {
      console.error(`test: ${error.message}`);
      resolve(1);
    });
    child.on("close", (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
  });
}

function readSummary(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    console.error("test: vitest ended without a result");
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

function judge({ passed, failed, skipped }, status) {
  if (passed + failed === 0) {
    console.error("test: no test ran");
    return { passed, failed: 1, skipped, status: status || 1 };
  }
  if (status !== 0 && failed === 0) {
    console.error(`test: vitest ended with status ${status}`);
    return { passed, failed: 1, skipped, status };
  }
  return { passed, failed, skipped, status: failed > 0 ? status || 1 : 0 };
}
