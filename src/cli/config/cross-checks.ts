// What one key of the configuration demands of another: checked after each key by itself is right.
// Leaves files and ports to start-up and `pabal config check`.

import type { z } from "zod";

interface Listener {
  readonly address: string;
  readonly port: number;
}

/** The part of the configuration that is looked at. */
interface Checked {
  readonly cluster: {
    readonly minCopies: 1 | 2;
    readonly coordinator: {
      readonly kind: "embedded" | "etcd";
      readonly member: string;
      readonly address?: string | undefined;
      readonly endpoints: readonly string[];
      readonly ca?: string | undefined;
      readonly cert?: string | undefined;
      readonly key?: string | undefined;
      readonly username?: string | undefined;
      readonly passwordFile?: string | undefined;
    };
    readonly link: {
      readonly plaintext: boolean;
      readonly ca?: string | undefined;
      readonly cert?: string | undefined;
      readonly key?: string | undefined;
    };
  };
  readonly member: { readonly id: string; readonly role: string };
  readonly listen: Readonly<Record<string, Listener | undefined>>;
  readonly tls?: unknown;
  readonly domains: readonly string[];
  readonly auth: {
    readonly oauth?:
      | {
          readonly introspection?: { readonly url: string } | undefined;
          readonly jwks?: { readonly url: string } | undefined;
        }
      | undefined;
  };
}

type Report = (path: readonly string[], message: string) => void;

const mailListeners = [
  "smtp",
  "submission",
  "submissions",
  "lmtp",
  "imap",
  "imaps",
  "pop3",
  "pop3s",
];
const implicitTls = ["submissions", "imaps", "pop3s"];

/** For zod's `superRefine`: each problem at the key that is to be changed. */
export function crossChecks(config: Checked, context: z.core.$RefinementCtx<unknown>): void {
  const report: Report = (path, message) =>
    context.addIssue({ code: "custom", path: [...path], message, input: undefined });
  checkOAuth(config, report);
  checkCoordinator(config, report);
  checkLinks(config, report);
  checkRole(config, report);
  checkListeners(config, report);
}

function checkOAuth({ auth: { oauth } }: Checked, report: Report): void {
  if (oauth === undefined) return;
  const { introspection, jwks } = oauth;
  if ((introspection === undefined) === (jwks === undefined)) {
    report(["auth", "oauth"], "wants either introspection or jwks");
  }
  for (const [name, ask] of Object.entries({ introspection, jwks })) {
    if (ask === undefined) continue;
    const { protocol, hostname } = new URL(ask.url);
    const isHere = ["localhost", "127.0.0.1", "[::1]"].includes(hostname);
    if (protocol === "https:" || (protocol === "http:" && isHere)) continue;
    report(["auth", "oauth", name, "url"], "wants https: tokens and secrets go there");
  }
}

function checkCoordinator({ cluster, member }: Checked, report: Report): void {
  const { kind, address, endpoints, ca, cert, key, username, passwordFile } = cluster.coordinator;
  const at = ["cluster", "coordinator"];
  if (kind === "embedded") {
    if (address === undefined) report([...at, "address"], "is missing: where the coordinator is");
    if (endpoints.length > 0) report([...at, "endpoints"], "is etcd's: set kind: etcd");
    return;
  }
  if (endpoints.length === 0) report([...at, "endpoints"], "is missing: where etcd listens");
  if (address !== undefined) report([...at, "address"], "is the embedded coordinator's: drop it");
  if (member.role === "coordinator") {
    report(["member", "role"], "is for the embedded coordinator; this cluster has etcd");
  }
  if ((cert === undefined) !== (key === undefined)) report(at, "wants cert and key, or neither");
  if (cert !== undefined && ca === undefined) report([...at, "ca"], "is missing");
  if ((username === undefined) !== (passwordFile === undefined)) {
    report(at, "wants username and passwordFile, or neither");
  }
}

function checkLinks({ cluster, listen }: Checked, report: Report): void {
  const { plaintext, ...files } = cluster.link;
  const given = (["ca", "cert", "key"] as const).filter((name) => files[name] !== undefined);
  if (!plaintext) {
    if (given.length === 3) return;
    report(
      ["cluster", "link"],
      "wants ca, cert and key (make them with `pabal cluster certificates`), or plaintext: true where all members are on loopback",
    );
    return;
  }
  if (given.length > 0) {
    report(["cluster", "link", "plaintext"], "is true, but certificates are given too: drop one");
  }
  const here = listen.link;
  if (here !== undefined && !isLoopback(here.address)) {
    report(
      ["cluster", "link", "plaintext"],
      `is for loopback only, but listen.link is ${here.address}`,
    );
  }
  const host = cluster.coordinator.address?.replace(/:\d+$/, "");
  if (host !== undefined && !isLoopback(host)) {
    report(
      ["cluster", "link", "plaintext"],
      `is for loopback only, but the coordinator is at ${host}`,
    );
  }
}

function checkRole({ cluster, member, listen, domains }: Checked, report: Report): void {
  const { kind, member: coordinator } = cluster.coordinator;
  if (kind === "embedded") {
    if (member.role === "coordinator" && member.id !== coordinator) {
      report(
        ["member", "id"],
        `is not that of the coordinator, cluster.coordinator.member: ${coordinator}`,
      );
    }
    if (member.role !== "coordinator" && member.id === coordinator) {
      report(["member", "id"], "is the coordinator's: choose another one");
    }
  }
  if (member.role !== "gateway") {
    for (const name of mailListeners.filter((key) => listen[key] !== undefined)) {
      report(["listen", name], `is for gateways; this is a ${member.role}`);
    }
    if (listen.link === undefined) report(["listen"], `a ${member.role} needs listen.link`);
    return;
  }
  if (domains.length === 0) report(["domains"], "a gateway needs the mail domains that it serves");
  const { address, endpoints } = cluster.coordinator;
  const far = [address, ...endpoints].some((at) => at !== undefined && !isLoopback(hostOf(at)));
  if (far && listen.link === undefined) {
    report(["listen"], "a gateway needs listen.link: mail nodes report failures to it");
  }
}

function checkListeners({ listen, tls }: Checked, report: Report): void {
  const seen = new Map<string, string>();
  for (const [name, listener] of Object.entries(listen)) {
    // The pulse has UDP ports, whose numbers may be those of TCP ones.
    if (listener === undefined || name === "pulse") continue;
    if (tls === undefined && implicitTls.includes(name)) {
      report(["listen", name], "needs tls.cert and tls.key");
    }
    const place = `${listener.address}:${listener.port}`;
    const other = seen.get(place);
    if (listener.port !== 0 && other !== undefined) {
      report(["listen", name, "port"], `${place} is listen.${other}'s already`);
    }
    seen.set(place, name);
  }
}

function hostOf(endpoint: string): string {
  return endpoint.replace(/^https?:\/\//, "").replace(/:\d+$/, "");
}

function isLoopback(host: string): boolean {
  const bare = host.replace(/^\[|\]$/g, "");
  return bare === "localhost" || bare === "::1" || /^127\.\d+\.\d+\.\d+$/.test(bare);
}
