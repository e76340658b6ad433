// The configuration loader: every mistake names file, line and column.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ConfigError, loadConfig, parseConfig } from "../../../src/cli/config/load.ts";
import {
  formatDuration,
  formatSize,
  parseDuration,
  parseSize,
} from "../../../src/cli/config/units.ts";

const good = `cluster:
  id: test
  coordinator:
    address: 127.0.0.1:4000
member:
  id: g1
  role: gateway
  dataDir: data/g1
domains: [pabal.test]
limits:
  messageBytes: 10MiB
  commandTimeout: 90s
`;

function problemsOf(text: string): readonly string[] {
  try {
    parseConfig(text, "p.yaml");
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split("\n");
    throw error;
  }
  return [];
}

describe("configuration", () => {
  test("units are turned into milliseconds and bytes, defaults filled in, the result frozen", () => {
    const config = parseConfig(good, "/etc/pabal/p.yaml");
    expect(config.limits.messageBytes).toBe(10 * 1024 * 1024);
    expect(config.limits.commandTimeout).toBe(90_000);
    expect(config.limits.idleTimeout).toBe(1_800_000);
    expect(config.cluster.minCopies).toBe(2);
    expect(config.member.dataDir).toBe("/etc/pabal/data/g1");
    expect(Object.isFrozen(config.limits)).toBe(true);
  });

  test.each([
    [
      "an unknown key names line, column and the key meant",
      good.replace("role:", "rol:"),
      /^p\.yaml:7:3: unknown key "member\.rol"; did you mean "role"\?$/m,
    ],
    [
      "an unknown top-level key",
      good.replace("domains:", "domain:"),
      /^p\.yaml:9:1: unknown key "domain"; did you mean "domains"\?$/m,
    ],
    ["a missing unit", good.replace("90s", "90"), /^p\.yaml:12:19: "limits\.commandTimeout"/m],
    [
      "a wrong unit",
      good.replace("10MiB", "10MB"),
      /^p\.yaml:11:17: "limits\.messageBytes": wants a size/m,
    ],
    [
      "a wrong type",
      good.replace("[pabal.test]", "7"),
      /^p\.yaml:9:10: "domains": expected array/m,
    ],
    [
      "a missing key points at the section",
      good.replace("  id: g1\n", ""),
      /^p\.yaml:6:3: "member\.id" is missing$/m,
    ],
    [
      "a bad member id",
      good.replace("id: g1", "id: G1"),
      /^p\.yaml:6:7: "member\.id": wants a lower-case/m,
    ],
    ["broken YAML", "cluster: [", /^p\.yaml:1:/m],
    ["a key given twice", `${good}domains: [x.test]\n`, /^p\.yaml:13:1: .*unique/m],
    [
      "an unset environment variable",
      good.replace("id: test", "id: ${env:PABAL_SURELY_UNSET}"),
      /^p\.yaml:2:7: environment variable PABAL_SURELY_UNSET is not set$/m,
    ],
    [
      "a missing secret file",
      good.replace("id: test", "id: ${file:nowhere}"),
      /^p\.yaml:2:7: can't read nowhere/m,
    ],
  ])("%s", (_name, text, expected) => {
    expect(problemsOf(text).join("\n")).toMatch(expected);
  });

  test("every mistake of a file is reported at once", () => {
    expect(
      problemsOf(good.replace("90s", "90").replace("10MiB", "x").replace("rol", "ro")).length,
    ).toBeGreaterThan(2);
  });

  test("a file that can't be read says so", () => {
    expect(() => loadConfig("/nowhere/p.yaml")).toThrow(/\/nowhere\/p\.yaml:1:1: can't be read/);
  });

  test("secrets come from files next to the configuration", () => {
    const folder = mkdtempSync(join(tmpdir(), "pabal-config-"));
    try {
      writeFileSync(join(folder, "id"), "secret-cluster\n");
      writeFileSync(join(folder, "p.yaml"), good.replace("id: test", "id: ${file:id}"));
      expect(loadConfig(join(folder, "p.yaml")).cluster.id).toBe("secret-cluster");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("units format as the shortest exact text", () => {
    expect([90_000, 1500, 86_400_000, 0].map(formatDuration)).toEqual([
      "90s",
      "1500ms",
      "1d",
      "0ms",
    ]);
    expect([50 * 1024 ** 2, 1000, 65_536].map(formatSize)).toEqual(["50MiB", "1000B", "64KiB"]);
    expect([
      parseDuration("5 m"),
      parseDuration("5"),
      parseDuration("constructor"),
      parseSize("1.5KiB"),
    ]).toEqual([300_000, undefined, undefined, 1536]);
  });
});
