// The command line as a process: what it prints, its exit statuses, what it says when things go wrong.

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { X509Certificate } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startTestServer, type TestServer, token } from "../http/support.ts";
import { pabal } from "./support.ts";

let server: TestServer;
let folder = "";
let env: Record<string, string> = {};

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "pabal-cli-"));
  server = await startTestServer();
  env = { PABAL_ADMIN: server.url, PABAL_ADMIN_TOKEN: token, TMPDIR: folder };
});
afterAll(async () => {
  await server.close(AbortSignal.abort());
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  server.accounts.accounts.clear();
  server.accounts.batches.length = 0;
  server.accounts.failure = undefined;
});

describe("usage", () => {
  test.each([
    [["usr"], /unknown command 'usr'.*\n?.*Did you mean user\?/],
    [["user", "ad", "x@y"], /unknown command 'ad'.*\n?.*Did you mean add\?/],
    [["user", "add", "x@y", "--pasword", "z"], /unknown option '--pasword'.*\n?.*--password\?/],
    [["user", "add"], /missing required argument 'address'/],
    [["user", "show", "a@b", "c@d"], /too many arguments/],
    [["user", "quota", "a@b", "--quota", "5GB"], /--quota <size>.*such as 5GiB/],
    [["user", "quota", "a@b", "--messages", "-1"], /whole number/],
    [["user", "quota", "a@b"], /say --quota SIZE or --messages N/],
    [["user", "add", "a@b", "--password", "x", "--hash", "y"], /cannot be used with/],
    [["serve"], /required option '--config <file>'/],
    [["cluster", "init", "--config", "x"], /required option '--nodes <n>'/],
    [["cluster", "init", "--config", "x", "--nodes", "0"], /whole number from 1/],
    [["dev", "--nodes", "many"], /--nodes wants a whole number/],
    [["cluster", "status", "--admin", "nowhere"], /"nowhere" is no URL/],
    [["cluster", "status", "--admin", "http://127.0.0.1:1"], /no token: say --admin-token/],
    [["cluster", "status"], /no cluster found: start one with `pabal dev`/],
  ])("pabal %j ends with 64 and says why", async (args, why) => {
    const run = await pabal(args, { env: { TMPDIR: folder } });
    expect(run.err).toMatch(why);
    expect([run.status, run.out]).toEqual([64, ""]);
    expect(run.err).not.toMatch(/ {4}at /);
  });

  test("help has examples and ends with 0", async () => {
    for (const args of [["--help"], ["user", "add", "--help"], ["cluster", "init", "--help"]]) {
      const { status, out } = await pabal(args);
      expect(status).toBe(0);
      expect(out).toMatch(/Examples:\n {2}\S*pabal /);
    }
  });

  test("a configuration that can't be used ends with 78 and file:line:column", async () => {
    const file = join(folder, "bad.yaml");
    writeFileSync(file, "membr: {}\n");
    for (const args of [
      ["serve", "--config", file],
      ["config", "check", file],
      ["cluster", "init", "--config", file, "--nodes", "1"],
      ["check", "--config", file],
    ]) {
      // A member that can't start ends its process.
      const run = await pabal(args, args[0] === "serve" ? { input: "" } : {});
      expect(run.err).toMatch(/bad\.yaml:1:1: unknown key "membr"; did you mean "member"\?/);
      expect([args[0], run.status]).toEqual([args[0], 78]);
    }
  });
});

describe("users", () => {
  test("are added, listed, shown, changed and removed, for people and as JSON", async () => {
    const added = await pabal(
      ["user", "add", "kim@pabal.test", "--quota", "5GiB", "--alias", "k@pabal.test", "--json"],
      { env, input: "secret\nnot this\n" },
    );
    expect(added.err).toBe("");
    expect(JSON.parse(added.out)).toMatchObject({ name: "kim@pabal.test", state: "active" });
    expect(server.accounts.accounts.get("kim@pabal.test")).toMatchObject({
      password: "secret",
      quotaBytes: 5 * 1024 ** 3,
    });
    const list = await pabal(["user", "list"], { env });
    const show = await pabal(["user", "show", "kim@pabal.test"], { env });
    expect(list.out).toMatch(/^USER .*\nkim@pabal\.test +active +3 +ok +k@pabal\.test\n$/);
    expect(show.out).toMatch(/^storage {3}3145728 bytes of 5GiB$/m);
    const disabled = await pabal(["user", "disable", "kim@pabal.test"], { env });
    expect(disabled.out).toBe("kim@pabal.test: disabled\n");
    await pabal(["user", "enable", "kim@pabal.test"], { env });
    expect(server.accounts.accounts.get("kim@pabal.test")?.row.state).toBe("active");
    const deleted = await pabal(["user", "delete", "kim@pabal.test", "--json"], { env });
    expect(JSON.parse(deleted.out)).toEqual({ deleted: "kim@pabal.test" });
    const gone = await pabal(["user", "show", "kim@pabal.test"], { env });
    expect([gone.status, gone.err]).toEqual([67, "pabal: no such user or group\n"]);
  });

  test("a list longer than a page comes whole", async () => {
    await server.accounts.importBatch(
      Array.from({ length: 1003 }, (_, index) => ({ name: `u${index}@pabal.test` })),
    );
    const run = await pabal(["user", "list", "--json"], { env });
    expect((JSON.parse(run.out) as unknown[]).length).toBe(1003);
  });

  test.each([
    ["an empty option", {}, ["--password", ""], 64, /password is empty/],
    ["a missing file", {}, ["--password-file", "/nowhere/p"], 66, /\/nowhere\/p: ENOENT/],
  ])("%s is no password", async (_name, options, args, status, why) => {
    const run = await pabal(["user", "add", "x@pabal.test", ...args], { env, ...options });
    expect(run.err).toMatch(why);
    expect([run.status, server.accounts.accounts.size]).toEqual([status, 0]);
  });

  test("a taken name ends with 1, an outage with 69, a wrong token with 77", async () => {
    await server.accounts.create({ name: "kim@pabal.test" });
    const taken = await pabal(["user", "add", "kim@pabal.test", "--password", "x"], { env });
    expect([taken.status, taken.err]).toEqual([1, "pabal: kim@pabal.test is taken\n"]);
    server.accounts.failure = { code: "REPLICA_UNREACHABLE" };
    const away = await pabal(["user", "show", "kim@pabal.test"], { env });
    expect([away.status, away.err]).toEqual([69, expect.stringMatching(/^pabal: not now: /)]);
    const wrong = await pabal(["user", "list", "--admin-token", "wrong"], { env });
    expect([wrong.status, wrong.err]).toEqual([77, "pabal: the admin token is missing or wrong\n"]);
    const nobody = await pabal(["user", "list", "--admin", "http://127.0.0.1:1"], { env });
    expect(nobody.status).toBe(69);
    expect(nobody.err).toMatch(/no gateway answers at http:\/\/127\.0\.0\.1:1 .*is it running\?/);
  });
});

describe("import", () => {
  test("goes in batches, tells refused lines, and can be given again", async () => {
    const lines = Array.from({ length: 450 }, (_, index) =>
      JSON.stringify({ name: `u${index}@pabal.test`, hash: "$6$x" }),
    );
    lines.splice(7, 0, "{broken", "", "[1]");
    const all = join(folder, "all.jsonl");
    writeFileSync(all, lines.join("\r\n"));
    const first = await pabal(["user", "import", all, "--json"], { env });
    expect(JSON.parse(first.out)).toEqual({
      imported: 450,
      failures: ["line 8: no JSON object", "line 10: no JSON object"],
    });
    expect(first.status).toBe(1);
    expect(server.accounts.batches).toEqual([200, 200, 50]);
    const file = join(folder, "users.jsonl");
    writeFileSync(file, `${lines[0]}\n{"name":"new@pabal.test"}\n`);
    const second = await pabal(["user", "import", file], { env });
    expect(second.out).toBe("u0@pabal.test: u0@pabal.test is taken\n1 imported, 1 refused\n");
  });

  test("a missing file ends with 66, an outage in the middle says how far it came", async () => {
    const missing = await pabal(["user", "import", "/nowhere/u"], { env });
    expect([missing.status, missing.err]).toEqual([
      66,
      expect.stringMatching(/\/nowhere\/u: ENOENT/),
    ]);
    server.accounts.failure = { code: "UNAVAILABLE", why: "no shard has a primary" };
    const run = await pabal(["user", "import", "-"], { env, input: '{"name":"a@b.c"}\n' });
    expect([run.status, run.err]).toEqual([69, "pabal: not now: no shard has a primary\n"]);
  });
});

describe("cluster", () => {
  const status = {
    cluster: "test",
    gateway: "g1",
    shards: { total: 32, full: 31, oneCopy: 1, down: 0 },
    directory: { missing: 0, stale: 2 },
    members: [
      {
        id: "n1",
        role: "node",
        up: true,
        primaries: 16,
        secondaries: 16,
        load: { cpu: 0.25, queue: 0 },
      },
      { id: "n2", role: "node", up: false },
    ],
  };

  test("status is a table, or JSON with every field", async () => {
    server.status = () => Promise.resolve({ ...status, added: "later" });
    const people = await pabal(["cluster", "status"], { env });
    const json = await pabal(["cluster", "status", "--json"], { env });
    expect(people.out).toMatch(/32 shards, 31 on two nodes, 1 on one, 0 down$/m);
    expect(people.out).toMatch(/^n1 +node +up +16 +16 +- +25% +0( +-){4}$/m);
    expect(people.out).toMatch(/^n2 +node +DOWN +-( +-){8}$/m);
    expect(JSON.parse(json.out)).toEqual({ ...status, added: "later" });
  });

  test("watching goes on while the gateway is away, a line each with --json", async () => {
    let calls = 0;
    server.status = () => {
      calls++;
      return calls === 1
        ? Promise.reject(new DOMException("x", "TimeoutError"))
        : Promise.resolve(status);
    };
    const run = await pabal(["cluster", "status", "--watch", "--json"], { env, until: /"g1"/ });
    const seen = run.out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as object);
    expect(JSON.stringify(seen[0])).toMatch(/^\{"error":"not now/);
    expect(seen[1]).toEqual(status);
  });

  test("an answer of another version is told as such", async () => {
    server.status = () => Promise.resolve({ cluster: 7 });
    const run = await pabal(["cluster", "status"], { env });
    expect([run.status, run.err]).toEqual([1, expect.stringMatching(/is it of another version\?/)]);
  });

  test("certificates: one authority, a leaf a member, keys for their owner only", async () => {
    const out = join(folder, "tls");
    const first = await pabal([
      "cluster",
      "certificates",
      "--cluster",
      "t",
      "--out",
      out,
      "n1",
      "g1",
    ]);
    expect(first.err).toBe("");
    const authority = readFileSync(join(out, "ca.pem"), "utf8");
    const later = await pabal([
      "cluster",
      "certificates",
      "--cluster",
      "t",
      "--out",
      out,
      "--json",
      "n2",
    ]);
    expect((JSON.parse(later.out) as { written: string[] }).written).toEqual([
      join(out, "n2.key"),
      join(out, "n2.pem"),
    ]);
    expect(readFileSync(join(out, "ca.pem"), "utf8")).toBe(authority);
    for (const id of ["n1", "g1", "n2"]) {
      const leaf = new X509Certificate(readFileSync(join(out, `${id}.pem`)));
      expect(leaf.verify(new X509Certificate(authority).publicKey)).toBe(true);
      expect(leaf.subjectAltName).toContain(id);
      expect(statSync(join(out, `${id}.key`)).mode & 0o777).toBe(0o600);
    }
    const wrong = await pabal(["cluster", "certificates", "--cluster", "t", "--out", out, "../x"]);
    expect([wrong.status, wrong.err]).toEqual([64, expect.stringMatching(/no member id/)]);
  });

  test("init says what is missing when the nodes do not come", async () => {
    const file = join(folder, "c1.yaml");
    writeFileSync(
      file,
      "cluster:\n  id: t\n  coordinator: { address: 127.0.0.1:1 }\n  link: { plaintext: true }\n" +
        "member: { id: c1, role: coordinator, dataDir: c1 }\nlisten: { link: { port: 1 } }\n",
    );
    const run = await pabal([
      "cluster",
      "init",
      "--config",
      file,
      "--nodes",
      "3",
      "--wait",
      "300ms",
    ]);
    expect([run.status, run.err]).toEqual([
      69,
      expect.stringMatching(/fewer than 3 mail nodes have registered after 300ms/),
    ]);
  });
});

describe("config and check", () => {
  test("config schema is a JSON Schema, config show has the defaults", async () => {
    const file = join(folder, "g1.yaml");
    writeFileSync(
      file,
      "cluster:\n  id: t\n  coordinator: { address: 127.0.0.1:1 }\n  link: { plaintext: true }\n" +
        "member: { id: g1, role: gateway, dataDir: g1 }\ndomains: [x.test]\n",
    );
    const schema = await pabal(["config", "schema"]);
    const show = await pabal(["config", "show", file, "--json"]);
    const check = await pabal(["config", "check", file]);
    expect(JSON.parse(schema.out)).toMatchObject({ type: "object", additionalProperties: false });
    expect(JSON.parse(show.out)).toMatchObject({ limits: { messageBytes: 52_428_800 } });
    expect(check.out).toMatch(/g1\.yaml: good \(gateway g1 of cluster t\)/);
    const notANode = await pabal(["check", "--config", file]);
    expect([notANode.status, notANode.err]).toEqual([
      64,
      expect.stringMatching(/only nodes hold mail/),
    ]);
  });

  test("check of a folder without a store says so and leaves it as it was", async () => {
    const file = join(folder, "n1.yaml");
    writeFileSync(
      file,
      "cluster:\n  id: t\n  coordinator: { address: 127.0.0.1:1 }\n  link: { plaintext: true }\n" +
        "member: { id: n1, role: node, dataDir: n1 }\nlisten: { link: { port: 1 } }\n",
    );
    const run = await pabal(["check", "--config", file]);
    expect([run.status, run.err]).toEqual([66, expect.stringMatching(/n1 has no store/)]);
  });
});
