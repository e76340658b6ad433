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
  coordinator: { address: 127.0.0.1:4000 }
  link: { plaintext: true }
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

  test.each([
    [
      "links without certificates",
      good.replace("  link: { plaintext: true }\n", ""),
      /^p\.yaml:2:3: "cluster\.link": wants ca, cert and key .*pabal cluster certificates/m,
    ],
    [
      "half the certificates",
      good.replace("{ plaintext: true }", "{ ca: x, cert: y }"),
      /^p\.yaml:4:9: "cluster\.link": wants ca, cert and key/m,
    ],
    [
      "plaintext links to another machine",
      good.replace("127.0.0.1:4000", "10.0.0.1:4000"),
      /^p\.yaml:4:22: "cluster\.link\.plaintext": is for loopback only, but the coordinator is at 10\.0\.0\.1$/m,
    ],
    [
      "plaintext links that others could reach",
      `${good}listen: { link: { address: "::", port: 1 } }\n`,
      /"cluster\.link\.plaintext": is for loopback only, but listen\.link is ::$/m,
    ],
    [
      "plaintext and certificates",
      good.replace("plaintext: true", "plaintext: true, ca: x"),
      /"cluster\.link\.plaintext": is true, but certificates are given too/m,
    ],
    [
      "a gateway without domains",
      good.replace("[pabal.test]", "[]"),
      /^p\.yaml:9:10: "domains": a gateway needs/m,
    ],
    [
      "implicit TLS without a certificate",
      `${good}listen: { imaps: { port: 993 } }\n`,
      /"listen\.imaps": needs tls\.cert and tls\.key/m,
    ],
    [
      "one port for two listeners",
      `${good}listen: { imap: { port: 143 }, pop3: { port: 143 } }\n`,
      /"listen\.pop3\.port": 127\.0\.0\.1:143 is listen\.imap's already/m,
    ],
    [
      "mail listeners on a node",
      `${good.replace("role: gateway", "role: node")}listen: { link: { port: 1 }, smtp: { port: 25 } }\n`,
      /"listen\.smtp": is for gateways; this is a node/m,
    ],
    [
      "a node that nobody can reach",
      good.replace("role: gateway", "role: node"),
      /"listen": a node needs listen\.link/m,
    ],
    [
      "a coordinator under another name than the members know",
      good.replace("role: gateway", "role: coordinator"),
      /"member\.id": is not that of the coordinator/m,
    ],
  ])("%s is refused", (_name, text, expected) => {
    expect(problemsOf(text).join("\n")).toMatch(expected);
  });

  test("free ports may be the same number", () => {
    expect(problemsOf(`${good}listen: { imap: { port: 0 }, pop3: { port: 0 } }\n`)).toEqual([]);
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
