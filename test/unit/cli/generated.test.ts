// Files that are made from the sources are up to date, and the examples in config/ can be used.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { generatedFiles } from "../../../scripts/generated-files.ts";
import { referencesIn } from "../../../scripts/generate-rfc.ts";
import { parseConfig } from "../../../src/cli/config/load.ts";
import { configSchema } from "../../../src/cli/config/schema.ts";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const examples = readdirSync(join(root, "config"), { recursive: true, encoding: "utf8" }).filter(
  (name) => name.endsWith(".yaml"),
);

describe("generated files", () => {
  test.each(Object.entries(generatedFiles))(
    "%s is up to date (else: npm run generate)",
    (file, make) => {
      expect(readFileSync(join(root, file), "utf8")).toBe(make(root));
    },
  );

  test("a reference belongs to the RFC named before it", () => {
    const text =
      "// RFC 9051 §6.2.2, §6.2.3 and RFC 4959 §3: as paper §4.1 has it\n// RFC 3848 */ §2";
    expect(referencesIn(text)).toEqual([
      { rfc: "9051", section: "6.2.2" },
      { rfc: "9051", section: "6.2.3" },
      { rfc: "4959", section: "3" },
      { rfc: "3848", section: "2" },
    ]);
    expect(referencesIn("RFC 5322 bytes")).toEqual([{ rfc: "5322", section: "" }]);
  });
});

describe("examples", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "pabal-examples-"));
    mkdirSync(join(folder, "one-machine"));
    mkdirSync(join(folder, "several-machines"));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  test("there is one per role, and sets for one machine and for several", () => {
    expect([...examples].sort()).toEqual([
      "coordinator.yaml",
      "gateway.yaml",
      "node.yaml",
      "one-machine/c1.yaml",
      "one-machine/g1.yaml",
      "one-machine/n1.yaml",
      "one-machine/n2.yaml",
      "several-machines/g1.yaml",
      "several-machines/n1.yaml",
    ]);
  });

  test.each(examples)("%s is good and names a schema that is there", (name) => {
    const text = readFileSync(join(root, "config", name), "utf8");
    const config = parseConfig(text, join(folder, name));
    expect(config.member.dataDir).toBe(`/var/lib/pabal/${config.member.id}`);
    const schema = /^# yaml-language-server: \$schema=(\S+)$/m.exec(text)?.[1] ?? "";
    expect(readdirSync(join(root, "config", dirname(name), dirname(schema)))).toContain(
      basename(schema),
    );
  });

  test("the members of one machine fit together", () => {
    const configs = examples
      .filter((name) => name.startsWith("one-machine/"))
      .map((name) => parseConfig(readFileSync(join(root, "config", name), "utf8"), name));
    expect(new Set(configs.map(({ cluster }) => JSON.stringify(cluster))).size).toBe(1);
    expect(new Set(configs.map(({ member }) => member.dataDir)).size).toBe(configs.length);
    const places = configs.flatMap(({ listen }) =>
      Object.values(listen).map((listener) => listener?.port),
    );
    expect(new Set(places).size).toBe(places.length);
    const coordinator = configs.find(({ member }) => member.role === "coordinator");
    expect(coordinator?.cluster.coordinator.address).toBe(
      `${coordinator?.listen.link?.address}:${coordinator?.listen.link?.port}`,
    );
  });

  test("the members of several machines fit together, and with their etcd", () => {
    const configs = examples
      .filter((name) => name.startsWith("several-machines/"))
      .map((name) => parseConfig(readFileSync(join(root, "config", name), "utf8"), name));
    const coordinators = configs.map(({ cluster }) => JSON.stringify(cluster.coordinator));
    expect(new Set(coordinators).size).toBe(1);
    const places = configs.flatMap(({ listen }) =>
      Object.values(listen).map((listener) => listener?.port),
    );
    expect(new Set(places).size).toBe(places.length);
    const etcd: unknown = parse(
      readFileSync(join(root, "config/several-machines/etcd.conf.yml"), "utf8"),
    );
    const endpoints = configs[0]?.cluster.coordinator.endpoints ?? [];
    expect(etcd).toMatchObject({
      "listen-client-urls": expect.stringContaining(`https://${endpoints[0]}`) as unknown,
      "initial-cluster": expect.stringMatching(
        /^(e\d=https:\/\/10\.0\.0\.1\d:2380,?){3}$/,
      ) as unknown,
      "client-transport-security": { "client-cert-auth": true },
    });
  });

  test("every key of the schema has a description", () => {
    expect(
      undescribed(parse(generatedFiles["config/pabal.schema.json"]?.(root) ?? ""), ""),
    ).toEqual([]);
    expect(configSchema.shape.limits.description).toBeTypeOf("string");
  });
});

describe("systemd unit", () => {
  const unit = readFileSync(join(root, "config/systemd/pabal@.service"), "utf8");

  test.each([
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateDevices=yes",
    "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "SystemCallFilter=@system-service",
    "UMask=0077",
    "RestartPreventExitStatus=78",
  ])("has %s", (line) => {
    expect(unit.split("\n")).toContain(line);
  });
});

function undescribed(node: unknown, path: string): readonly string[] {
  if (typeof node !== "object" || node === null || !("properties" in node)) return [];
  const { properties } = node;
  if (typeof properties !== "object" || properties === null) return [];
  return Object.entries(properties).flatMap(([key, child]: [string, unknown]) => {
    const here = `${path}${key}`;
    const bare = typeof child === "object" && child !== null && !("description" in child);
    return [...(bare ? [here] : []), ...undescribed(child, `${here}.`)];
  });
}
