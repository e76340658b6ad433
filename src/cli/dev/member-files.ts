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
  /** `key=value` pairs for every member; the value is YAML. */
  readonly set: readonly string[];
}

export interface MemberFile {
  readonly id: string;
  readonly role: "coordinator" | "node" | "gateway";
  readonly file: string;
  readonly dataDir: string;
}

/** Writes the configuration files and says which there are: coordinator first, then nodes, then gateways. */
export function writeMemberFiles(settings: DevSettings): readonly MemberFile[] {
  const { ports } = settings;
  const on = (port: number): { address: string; port: number } => ({ address: "127.0.0.1", port });
  const members = [
    member("c1", "coordinator", {
      link: on(ports.coordinator.link),
      http: on(ports.coordinator.http),
    }),
    ...ports.nodes.map((node, index) =>
      member(`n${index + 1}`, "node", { link: on(node.link), http: on(node.http) }),
    ),
    ...ports.gateways.map(({ ring: _ring, ...gateway }, index) =>
      member(
        `g${index + 1}`,
        "gateway",
        Object.fromEntries(Object.entries(gateway).map(([name, port]) => [name, on(port)])),
      ),
    ),
  ];
  mkdirSync(join(settings.folder, "config"), { recursive: true });
  return members.map(({ id, role, listen }) => {
    const file = join(settings.folder, "config", `${id}.yaml`);
    const dataDir = join(settings.folder, id);
    mkdirSync(dataDir, { recursive: true });
    const text = `# Written by \`pabal dev\`; made anew at each start.\n${stringify(configuration(settings, id, role, listen, dataDir))}`;
    writeFileSync(file, withSettings(text, settings.set));
    return { id, role, file, dataDir };
  });
}

function member<R extends MemberFile["role"]>(
  id: string,
  role: R,
  listen: Record<string, unknown>,
): { id: string; role: R; listen: Record<string, unknown> } {
  return { id, role, listen };
}

function configuration(
  { folder, clusterId, domain, ports }: DevSettings,
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
      coordinator: { kind: "embedded", address: `127.0.0.1:${ports.coordinator.link}` },
      link: { ca: tls("cluster-ca.pem"), cert: tls(`${id}.pem`), key: tls(`${id}.key`) },
    },
    member: { id, role, dataDir },
    listen,
    hostName: "localhost",
    domains: [domain],
    ...(role === "gateway" ? { tls: { cert: tls("public.pem"), key: tls("public.key") } } : {}),
    auth: { plaintextOnLoopback: true },
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
