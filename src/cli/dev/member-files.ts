// What a development cluster writes before it starts: certificates and one configuration file per
// member. The files are ordinary ones: `pabal serve --config` runs them as in production.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseDocument, stringify } from "yaml";
import type { DevPorts } from "./ports.ts";

export interface DevSettings {
  readonly folder: string;
  readonly clusterId: string;
  readonly domain: string;
  readonly ports: DevPorts;
  readonly coordinator: "embedded" | "etcd";
  /** `key=value` pairs for every member; the value is YAML. */
  readonly set: readonly string[];
}

export interface MemberFile {
  readonly id: string;
  readonly role: "coordinator" | "node" | "gateway";
  /** Program and arguments, where the member is not `pabal serve` of a file. */
  readonly command?: readonly string[];
  readonly file: string;
  readonly dataDir: string;
}

/** Writes the configuration files and says which members there are: coordinator first, then nodes, then gateways. */
export function writeMemberFiles(settings: DevSettings): readonly MemberFile[] {
  const { ports } = settings;
  const on = (port: number): { address: string; port: number } => ({ address: "127.0.0.1", port });
  const embedded = member("c1", "coordinator", {
    link: on(ports.coordinator.link),
    http: on(ports.coordinator.http),
  });
  const members = [
    ...(settings.coordinator === "embedded" ? [embedded] : []),
    ...ports.nodes.map((node, index) =>
      member(`n${index + 1}`, "node", { link: on(node.link), http: on(node.http) }),
    ),
    ...ports.gateways.map(({ ring, ...gateway }, index) =>
      member(
        `g${index + 1}`,
        "gateway",
        Object.fromEntries(
          Object.entries({ ...gateway, link: ring }).map(([name, port]) => [name, on(port)]),
        ),
      ),
    ),
  ];
  mkdirSync(join(settings.folder, "config"), { recursive: true });
  const etcd = settings.coordinator === "etcd" ? [etcdMember(settings)] : [];
  const served = members.map(({ id, role, listen }) => {
    const file = join(settings.folder, "config", `${id}.yaml`);
    const dataDir = join(settings.folder, id);
    mkdirSync(dataDir, { recursive: true });
    const text = `# Written by \`pabal dev\`; made anew at each start.\n${stringify(configuration(settings, id, role, listen, dataDir))}`;
    writeFileSync(file, withSettings(text, settings.set));
    return { id, role, file, dataDir };
  });
  return [...etcd, ...served];
}

/** One etcd server that keeps its data where a coordinator member would. */
function etcdMember({ folder, ports }: DevSettings): MemberFile {
  const dataDir = join(folder, "c1");
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const client = `http://127.0.0.1:${ports.coordinator.link}`;
  const peer = `http://127.0.0.1:${ports.coordinator.http}`;
  const options = {
    name: "c1",
    "data-dir": dataDir,
    "listen-client-urls": client,
    "advertise-client-urls": client,
    "listen-peer-urls": peer,
    "initial-advertise-peer-urls": peer,
    "initial-cluster": `c1=${peer}`,
    "auto-compaction-retention": "1",
    logger: "zap",
    "log-level": "warn",
  };
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  return { id: "c1", role: "coordinator", file: "", dataDir, command: ["etcd", ...args] };
}

function member<R extends MemberFile["role"]>(
  id: string,
  role: R,
  listen: Record<string, unknown>,
): { id: string; role: R; listen: Record<string, unknown> } {
  return { id, role, listen };
}

function configuration(
  { folder, clusterId, domain, ports, coordinator }: DevSettings,
  id: string,
  role: string,
  listen: Record<string, unknown>,
  dataDir: string,
): Record<string, unknown> {
  const tls = (name: string): string => join(folder, "tls", name);
  return {
    cluster: {
      id: clusterId,
      allowSameMachine: true,
      coordinator:
        coordinator === "embedded"
          ? { kind: coordinator, address: `127.0.0.1:${ports.coordinator.link}` }
          : { kind: coordinator, endpoints: [`127.0.0.1:${ports.coordinator.link}`] },
      link: { ca: tls("cluster-ca.pem"), cert: tls(`${id}.pem`), key: tls(`${id}.key`) },
    },
    member: { id, role, dataDir },
    listen,
    hostName: "localhost",
    domains: [domain],
    ...(role === "gateway" ? { tls: { cert: tls("public.pem"), key: tls("public.key") } } : {}),
    auth: { plaintextOnLoopback: true },
    // Several nodes share one disk that is not theirs.
    disk: { ballast: "1MiB", copyAfter: "2s" },
    admin: { tokenFile: join(folder, "admin-token") },
  };
}

/** Applies `a.b.c=value` pairs to YAML text. @throws Error naming a pair that has no `=`. */
export function withSettings(text: string, pairs: readonly string[]): string {
  const document = parseDocument(text);
  for (const pair of pairs) {
    const cut = pair.indexOf("=");
    if (cut < 1) throw new Error(`--set wants key=value, not "${pair}"`);
    document.setIn(pair.slice(0, cut).split("."), parseDocument(pair.slice(cut + 1)).toJS());
  }
  return document.toString();
}
