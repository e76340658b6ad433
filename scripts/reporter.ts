// What a test run prints: one line a file, then every failure with its difference, its place and
// what the test had logged. Under scripts/test.mjs the counts of each file go to the file it names,
// and it prints the last line; without it the reporter prints `N passed, N failed` itself.

import { writeFileSync } from "node:fs";
import { relative } from "node:path";
import { stripVTControlCharacters } from "node:util";
import type { UserConsoleLog } from "vitest";
import type {} from "../test/support/kept.ts";
import type { Reporter, TestCase, TestModule, TestSuite } from "vitest/node";

type Failure = TestCase | TestModule | TestSuite;
type SerializedError = ReturnType<TestModule["errors"]>[number];

/** What scripts/test.mjs reads. */
interface FileCounts {
  /** Relative to the project's root; empty: what failed outside any file. */
  readonly file: string;
  passed: number;
  failed: number;
  skipped: number;
  /** A failed test of it says `meta.once`: a second run could only hide something. */
  once: boolean;
}

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
    const files = modules.map((module) => this.#judge(module));
    for (const error of unhandled) {
      files.push({ file: "", passed: 0, failed: 1, skipped: 0, once: true });
      print(`\nFAIL outside any test\n${describeError(error)}`);
    }
    report(files);
  }

  #judge(module: TestModule): FileCounts {
    const file = module.relativeModuleId;
    const counts: FileCounts = { file, passed: 0, failed: 0, skipped: 0, once: false };
    for (const test of module.children.allTests()) {
      const { state, errors } = test.result();
      if (state === "passed") counts.passed += 1;
      else if (state === "failed") counts.failed += 1;
      else counts.skipped += 1;
      if (state !== "failed") continue;
      if (test.meta().once === true) counts.once = true;
      this.#printFailure(module, test, errors);
    }
    // A hook or an import that threw: its tests show as skipped, so it counts as one failure.
    for (const owner of [module, ...module.children.allSuites()]) {
      if (owner.errors().length === 0) continue;
      counts.failed += 1;
      this.#printFailure(module, owner, owner.errors());
    }
    return counts;
  }

  #printFailure(module: TestModule, owner: Failure, errors: readonly SerializedError[]): void {
    const name = owner.type === "module" ? "" : ` › ${owner.fullName}`;
    print(`\nFAIL ${module.relativeModuleId}${name}`);
    for (const error of errors) print(describeError(error));
    const logged = this.#logged.get(owner.id);
    if (logged !== undefined) print(`  logged:\n${indent(logged.trimEnd(), "  | ")}`);
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

function report(files: readonly FileCounts[]): void {
  const path = process.env.PABAL_TEST_SUMMARY;
  if (path !== undefined) {
    writeFileSync(path, JSON.stringify(files));
    return;
  }
  const sum = (key: "passed" | "failed" | "skipped") =>
    files.reduce((total, counts) => total + counts[key], 0);
  const skipped = sum("skipped") > 0 ? `, ${sum("skipped")} skipped` : "";
  print(`${sum("passed")} passed, ${sum("failed")} failed${skipped}`);
}

function indent(text: string, by: string): string {
  return text.replaceAll(/^/gm, by);
}

function print(text: string): void {
  const shown = process.stdout.isTTY ? text : stripVTControlCharacters(text);
  process.stdout.write(`${shown}\n`);
}
