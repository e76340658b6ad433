// Inviting a member and joining: what one prints, the other turns into a configuration that loads.

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { X509Certificate } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadConfig } from "../../../src/cli/config/load.ts";
import { pabal } from "./support.ts";

let folder = "";
const at = (...names: readonly string[]): string => join(folder, ...names);

const coordinators = {
  embedded: "{ address: 10.0.0.10:4100 }",
  etcd: "{ kind: etcd, endpoints: [10.0.0.10:2379, 10.0.0.11:2379], ca: etcd-ca.pem, username: pabal, passwordFile: etcd-password }",
};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "pabal-invite-"));
  expect(
    (await pabal(["cluster", "certificates", "--cluster", "example", "--out", at("tls"), "n1"]))
      .status,
  ).toBe(0);
  writeFileSync(at("etcd-ca.pem"), "CA OF ETCD");
  writeFileSync(at("etcd-password"), "secret");
  for (const [name, coordinator] of Object.entries(coordinators)) {
    writeFileSync(
      at(`${name}.yaml`),
      `cluster:
  id: example
  coordinator: ${coordinator}
  link: { ca: tls/ca.pem, cert: tls/n1.pem, key: tls/n1.key }
member: { id: n1, role: node, dataDir: data }
listen: { link: { address: 10.0.0.21, port: 4100 } }
`,
    );
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

test.each(Object.keys(coordinators))("a node joins a cluster with coordinator %s", async (kind) => {
  const token = await invite("n4", kind);
  const out = at(`joined-${kind}`);
  const where = ["--out", out, "--data", at("n4-data"), "--link", "10.0.0.24:4100"];
  const run = await pabal(["cluster", "join", "--token", "-", ...where], { input: `${token}\n` });
  expect(run).toMatchObject({ status: 0, err: "" });
  const config = loadConfig(join(out, "n4.yaml"));
  expect(config.member).toMatchObject({ id: "n4", role: "node", dataDir: at("n4-data") });
  expect(config.listen.link).toMatchObject({ address: "10.0.0.24", port: 4100 });
  expect(config.cluster.coordinator.kind).toBe(kind);
  const leaf = new X509Certificate(readFileSync(config.cluster.link.cert ?? ""));
  const authority = new X509Certificate(readFileSync(config.cluster.link.ca ?? ""));
  expect(leaf.verify(authority.publicKey)).toBe(true);
  expect(leaf.subjectAltName).toContain("n4");
  expect(statSync(config.cluster.link.key ?? "").mode & 0o777).toBe(0o600);
  if (kind !== "etcd") return;
  const { ca, passwordFile, endpoints } = config.cluster.coordinator;
  expect(readFileSync(ca ?? "", "utf8")).toBe("CA OF ETCD");
  expect(readFileSync(passwordFile ?? "", "utf8")).toBe("secret");
  expect(endpoints).toEqual(["10.0.0.10:2379", "10.0.0.11:2379"]);
});

test("joining never writes over what is there", async () => {
  const token = await invite("n5", "embedded");
  const args = ["cluster", "join", "--token", token, "--out", at("n5"), "--link", "10.0.0.25:4100"];
  expect((await pabal(args)).status).toBe(0);
  const again = await pabal(args);
  expect(again.status).toBe(66);
  expect(again.err).toMatch(/is there already/);
});

test.each([
  ["half a token", (token: string) => token.slice(0, -40), /not a whole one/],
  ["something else", () => "hello", /not a whole one/],
])("%s is refused", async (_what, spoil, why) => {
  const token = spoil(await invite("n6", "embedded"));
  const run = await pabal([
    "cluster",
    "join",
    "--token",
    token,
    "--out",
    at("n6"),
    "--link",
    "h:1",
  ]);
  expect(run.status).toBe(64);
  expect(run.err).toMatch(why);
});

test("a member without an address for links is refused", async () => {
  const token = await invite("n7", "embedded");
  const run = await pabal(["cluster", "join", "--token", token, "--out", at("n7")]);
  expect(run.status).toBe(64);
  expect(run.err).toMatch(/--link/);
});

test("an invitation without the authority's key is refused, naming the file", async () => {
  const config = at("embedded.yaml");
  const run = await pabal([
    "cluster",
    "invite",
    "n8",
    "--config",
    config,
    "--authority",
    at("none"),
  ]);
  expect(run.status).toBe(66);
  expect(run.err).toMatch(/none\/ca\.pem/);
});

async function invite(member: string, kind: string): Promise<string> {
  const config = at(`${kind}.yaml`);
  const args = ["cluster", "invite", member, "--config", config, "--authority", at("tls")];
  const run = await pabal(args);
  expect(run).toMatchObject({ status: 0, err: "" });
  return run.out.trim();
}
