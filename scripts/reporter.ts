// What a test run prints: one line a file, then every failure with its difference, its place and
// what the test had logged. Under scripts/test.mjs the counts go to the file it names, and it
// prints the last line; without it the reporter prints `N passed, N failed` itself.

import { writeFileSync } from "node:fs";
import { relative } from "node:path";
import { stripVTControlCharacters } from "node:util";
import type { UserConsoleLog } from "vitest";
import type { Reporter, TestCase, TestModule, TestSuite } from "vitest/node";

type Failure = TestCase | TestModule | TestSuite;
type SerializedError = ReturnType<TestModule["errors"]>[number];

const loggedBytesMax = 16 * 1024;

export default class PabalReporter implements Reporter {
  readonly #logged = new Map<string, string>();

  onUserConsoleLog(log: UserConsoleLog): void {
    if (log.taskId === undefined) {
      process.stdout.write(log.content);
      return;
    }
    const all = (this.#logged.get(log.taskId) ?? "") + log.content;
    this.#logged.set(log.taskId, all.slice(-loggedBytesMax));
  }

  onTestModuleEnd(module: TestModule): void {
    const tests = [...module.children.allTests()];
    const failed = tests.filter((test) => test.result().state === "failed").length;
    const seconds = (module.diagnostic().duration / 1000).toFixed(1);
    const mark = module.ok() ? "ok  " : "FAIL";
    const figures = `${tests.length} tests${failed > 0 ? `, ${failed} failed` : ""}, ${seconds} s`;
    print(`${mark} ${module.relativeModuleId} (${figures})`);
    if (module.ok()) this.#forgetLogs(module);
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const counts = { passed: 0, failed: 0, skipped: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === "passed") counts.passed += 1;
        else if (state === "failed") counts.failed += 1;
        else counts.skipped += 1;
        if (state === "failed") this.#printFailure(module, test, test.result().errors ?? []);
        if (test.diagnostic()?.flaky === true) this.#printRepetition(module, test);
      }
      // A hook or an import that threw: its tests show as skipped, so it counts as one failure.
      for (const owner of [module, ...module.children.allSuites()]) {
        if (owner.errors().length === 0) continue;
        counts.failed += 1;
        this.#printFailure(module, owner, owner.errors());
      }
    }
    for (const error of unhandled) {
      counts.failed += 1;
      print(`\nFAIL outside any test\n${describeError(error)}`);
    }
    report(counts);
  }

  #printFailure(module: TestModule, owner: Failure, errors: readonly SerializedError[]): void {
    const name = owner.type === "module" ? "" : ` › ${owner.fullName}`;
    print(`\nFAIL ${module.relativeModuleId}${name}`);
    for (const error of errors) print(describeError(error));
    const logged = this.#logged.get(owner.id);
    if (logged !== undefined) print(`  logged:\n${indent(logged.trimEnd(), "  | ")}`);
  }

  /** A test that failed first and then passed: not counted as failed, never silent. */
  #printRepetition(module: TestModule, test: TestCase): void {
    print(`\nREPEATED ${module.relativeModuleId} › ${test.fullName}: failed first with`);
    for (const error of test.result().errors ?? []) print(describeError(error));
  }

  #forgetLogs(module: TestModule): void {
    this.#logged.delete(module.id);
    for (const test of module.children.allTests()) this.#logged.delete(test.id);
  }
}

function describeError(error: SerializedError): string {
  const lines = [indent(`${error.name ?? "Error"}: ${error.message}`, "  ")];
  if (typeof error.diff === "string") lines.push(indent(error.diff, "  "));
  for (const frame of error.stacks ?? []) {
    if (frame.file.includes("/node_modules/")) continue;
    const place = `${relative(process.cwd(), frame.file)}:${frame.line}:${frame.column}`;
    lines.push(`    at ${frame.method === "" ? place : `${frame.method} (${place})`}`);
  }
  // Errors that were not thrown by a test arrive with their stack as text.
  if (error.stacks === undefined) {
    const frames = (error.stack ?? "").split("\n").filter((line) => /^\s+at /.test(line));
    const ours = frames.filter((line) => !line.includes("/node_modules/"));
    lines.push(...ours.map((line) => `    ${line.trim()}`));
  }
  if (error.cause !== undefined && isError(error.cause)) {
    lines.push("  caused by", describeError(error.cause));
  }
  return lines.join("\n");
}

function isError(value: unknown): value is SerializedError {
  return typeof value === "object" && value !== null && "message" in value;
}

function report(counts: { passed: number; failed: number; skipped: number }): void {
  const path = process.env.PABAL_TEST_SUMMARY;
  if (path !== undefined) {
    writeFileSync(path, JSON.stringify(counts));
    return;
  }
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
  print(`${counts.passed} passed, ${counts.failed} failed${skipped}`);
}

function indent(text: string, by: string): string {
  return text.replaceAll(/^/gm, by);
}

function print(text: string): void {
  const shown = process.stdout.isTTY ? text : stripVTControlCharacters(text);
  process.stdout.write(`${shown}\n`);
}
