// What every member of a cluster has, whatever its role: log, metrics, identity on links, the way to
// the coordinator. Roles add their own parts in the neighbouring files.

import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { pino, type Logger } from "pino";
import type { LinkSecurity } from "../../cluster/link/link-security.ts";
import type { SelfDescription } from "../../cluster/link/hello.ts";
import type { MemberRoute } from "../../cluster/node/cluster-client.ts";
import { type MemberId, memberId } from "../../mail/ids.ts";
import type { Config } from "../config/schema.ts";

/** A role's running parts. */
export interface RunningMember {
  /** Orderly: sessions and requests get until `signal` aborts. */
  stop(signal: AbortSignal): Promise<void>;
}

export function makeLog(config: Config): Logger {
  const { level, pretty } = config.log;
  const base = { member: config.member.id };
  if (!pretty) return pino({ level, base });
  return pino({ level, base, transport: { target: "pino-pretty" } });
}

/** Reads certificates anew at each use, so that replaced files count from the next dial on. */
export function linkSecurity(config: Config): LinkSecurity {
  const { plaintext, ca, cert, key } = config.cluster.link;
  if (plaintext || ca === undefined || cert === undefined || key === undefined) {
    return { kind: "plaintext" };
  }
  return {
    kind: "tls",
    credentials: () => ({
      ca: readFileSync(ca, "utf8"),
      cert: readFileSync(cert, "utf8"),
      key: readFileSync(key, "utf8"),
    }),
  };
}

/** Who this member says it is; `incarnation` becomes known at registration. */
export function selfDescription(
  config: Config,
  role: string,
  incarnation: () => number,
): SelfDescription {
  return { cluster: config.cluster.id, member: memberId(config.member.id), role, incarnation };
}

/** `host:port` as in the configuration; IPv6 hosts stand in brackets. */
export function splitHostPort(text: string): { readonly host: string; readonly port: number } {
  const colon = text.lastIndexOf(":");
  return {
    host: text.slice(0, colon).replace(/^\[|\]$/g, ""),
    port: Number(text.slice(colon + 1)),
  };
}

/** Where this member reaches others, when that is not what they announce: `cluster.routes`. */
export function ownRoutes(config: Config): ReadonlyMap<MemberId, MemberRoute> {
  const row = Object.entries(config.cluster.routes[config.member.id] ?? {});
  return new Map(
    row.map(([to, { link, pulse }]) => [
      memberId(to),
      {
        ...(link === undefined ? {} : { link: splitHostPort(link) }),
        ...(pulse === undefined ? {} : { pulse: splitHostPort(pulse) }),
      },
    ]),
  );
}

/** The machine, unless the operator names a wider domain. */
export function failureDomain(config: Config): string {
  return config.member.failureDomain ?? hostname();
}
