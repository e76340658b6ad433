// A cluster made the operator's way, with the example files for one machine: serve, cluster init, user,
// status, metrics, check. Only folders, ports and certificates differ from config/one-machine/.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseDocument } from "yaml";
import { choosePorts } from "../../src/cli/dev/ports.ts";
import { pabal } from "../unit/cli/support.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const members = ["c1", "n1", "n2", "g1"] as const;
const processes = new Map<string, ChildProcess>();
const logs = new Map<string, string>();
let folder = "";
let ports: Awaited<ReturnType<typeof choosePorts>>;
let smtpPort = 0;
let httpPort = 0;

function fileOf(id: string): string {
  return join(folder, `${id}.yaml`);
}

/** The example with this test's folder and ports. */
function writeExample(id: (typeof members)[number]): void {
  const text = readFileSync(join(root, "config/one-machine", `${id}.yaml`), "utf8");
  const document = parseDocument(text);
  const gateway = ports.gateways[0];
  const node = ports.nodes[id === "n2" ? 1 : 0];
  document.setIn(["cluster", "coordinator", "address"], `127.0.0.1:${ports.coordinator.link}`);
  document.setIn(["member", "dataDir"], join(folder, id));
  if (id === "g1") {
    document.delete("tls");
    document.set("listen", {
      smtp: { port: gateway?.smtp },
      http: { port: gateway?.http },
    });
    document.setIn(["admin", "url"], `http://127.0.0.1:${gateway?.http}`);
  } else {
    const own = id === "c1" ? ports.coordinator : node;
    document.setIn(["listen", "link", "port"], own?.link);
    document.setIn(["listen", "http", "port"], own?.http);
  }
  writeFileSync(fileOf(id), document.toString());
}

function serve(id: string): void {
  const args = ["--import", "tsx", join(root, "src/main.ts"), "serve", "--config", fileOf(id)];
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      logs.set(id, (logs.get(id) ?? "") + text);
    });
  }
  processes.set(id, child);
}

async function stop(id: string): Promise<number | null> {
  const child = processes.get(id);
  if (child === undefined) return null;
  processes.delete(id);
  if (child.exitCode !== null) return child.exitCode;
  child.kill("SIGTERM");
  await once(child, "exit");
  return child.exitCode;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "pabal-serve-"));
  ports = await choosePorts(0, 1, 2);
  smtpPort = ports.gateways[0]?.smtp ?? 0;
  httpPort = ports.gateways[0]?.http ?? 0;
  for (const id of members) {
    mkdirSync(join(folder, id));
    writeExample(id);
  }
  writeFileSync(join(folder, "admin-token"), "the-token\n", { mode: 0o600 });
  for (const id of members) serve(id);
});
afterAll(async () => {
  for (const id of [...members].reverse()) await stop(id);
  rmSync(folder, { recursive: true, force: true });
});

/** One message by SMTP; the answer to its end. */
async function deliver(to: string): Promise<string> {
  const socket = connect(smtpPort, "127.0.0.1");
  socket.setEncoding("latin1");
  const lines = (async function* () {
    let rest = "";
    for await (const chunk of socket) {
      const parts = (rest + String(chunk)).split("\r\n");
      rest = parts.pop() ?? "";
      yield* parts.filter((line) => /^\d{3} /.test(line));
    }
  })();
  const say = async (text: string): Promise<string> => {
    if (text !== "") socket.write(`${text}\r\n`);
    return String((await lines.next()).value);
  };
  await say("");
  for (const line of ["EHLO x", "MAIL FROM:<a@example.net>", `RCPT TO:<${to}>`, "DATA"]) {
    expect(await say(line)).toMatch(/^[23]/);
  }
  const answer = await say("Subject: hello\r\n\r\nhello\r\n.");
  socket.destroy();
  return answer;
}

describe("a cluster from the example files", () => {
  test("is initialised once, and a second init changes nothing", async () => {
    const init = ["cluster", "init", "--config", fileOf("c1"), "--nodes", "2"];
    const first = await pabal([...init, "--json"]);
    expect(first.err).toBe("");
    expect(JSON.parse(first.out)).toEqual({ shards: 32, nodes: 2, existed: false });
    const second = await pabal(init);
    expect([second.status, second.out]).toEqual([0, "the cluster is there already: 32 shards\n"]);
    await expect
      .poll(
        async () => {
          const ready = await fetch(`http://127.0.0.1:${httpPort}/readyz`).catch(() => undefined);
          return ready?.status;
        },
        { timeout: 60_000 },
      )
      .toBe(200);
  });

  test("takes users and mail, and shows both", async () => {
    const config = ["--config", fileOf("g1")];
    const added = await pabal(["user", "add", "kim@example.org", "--password", "x", ...config]);
    expect([added.err, added.out]).toEqual(["", "added kim@example.org\n"]);
    expect(await deliver("kim@example.org")).toMatch(/^250 2\.0\.0 /);
    const shown = await pabal(["user", "show", "kim@example.org", "--json", ...config]);
    expect(JSON.parse(shown.out)).toMatchObject({ quota: { usedMessages: 1 } });
    const status = await pabal(["cluster", "status", "--json", ...config]);
    expect(JSON.parse(status.out)).toMatchObject({
      cluster: "one-machine",
      shards: { total: 32, full: 32, oneCopy: 0, down: 0 },
    });
  });

  test("every member answers health, readiness and metrics", async () => {
    const places = [ports.coordinator.http, httpPort, ...ports.nodes.map(({ http }) => http)];
    for (const port of places) {
      for (const path of ["healthz", "readyz", "metrics"]) {
        expect((await fetch(`http://127.0.0.1:${port}/${path}`)).status).toBe(200);
      }
    }
  });

  test("a second process on the same data is refused with the first one's id", async () => {
    const check = await pabal(["check", "--config", fileOf("n1")]);
    expect(check.status).toBe(69);
    expect(check.err).toMatch(new RegExp(`in use by process ${processes.get("n1")?.pid}`));
  });

  test("a stopped node's data is sound, on both nodes, and it can go on after the check", async () => {
    for (const id of ["n1", "n2"]) {
      expect(await stop(id)).toBe(0);
      const check = await pabal(["check", "--config", fileOf(id), "--bodies", "--json"]);
      expect(check.err).toBe("");
      expect(JSON.parse(check.out)).toEqual({
        ok: true,
        shards: 32,
        findings: [],
        repaired: 0,
        lost: 0,
      });
      const out = join(folder, `salvaged-${id}`);
      const salvaged = await pabal(["salvage", "--config", fileOf(id), "--out", out, "--json"]);
      expect([salvaged.err, JSON.parse(salvaged.out)]).toEqual([
        "",
        { messages: 1, lost: 0, folders: 1 },
      ]);
      const [file = ""] = readdirSync(join(out, "kim@example.org/INBOX/cur"));
      expect(file).toMatch(/^\d+\.1\.salvaged:2,$/);
      expect(readFileSync(join(out, "kim@example.org/INBOX/cur", file), "utf8")).toMatch(
        /^Return-Path: <a@example\.net>\r\n(.*\r\n)+Subject: hello\r\n\r\nhello\r\n$/,
      );
      const again = await pabal(["salvage", "--config", fileOf(id), "--out", out]);
      expect([again.status, again.err]).toEqual([64, `pabal: ${out} is not empty\n`]);
      serve(id);
    }
    await expect
      .poll(() => deliver("kim@example.org").catch(String), { timeout: 60_000 })
      .toMatch(/^250 /);
  });

  test("SIGTERM ends each member with status 0", async () => {
    for (const id of [...members].reverse()) expect([id, await stop(id)]).toEqual([id, 0]);
    for (const text of logs.values()) expect(text).not.toContain("the-token");
  });
});
