// How a new machine joins: an invitation, made where the cluster's authority is, is one line of text
// with everything the new member needs; accepting it writes a configuration and its certificate.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import { z } from "zod";
import { makeMemberCertificates } from "./certificates.ts";
import type { Config } from "./config/schema.ts";
import { CommandFailure, exitStatus, fileFailure } from "./failure.ts";
import { splitHostPort } from "./members/member-base.ts";

const prefix = "pabal1.";
const roles = ["node", "gateway"] as const;
export type InvitedRole = (typeof roles)[number];

const invitation = z.object({
  member: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/),
  role: z.enum(roles),
  cluster: z.object({
    id: z.string(),
    minCopies: z.number(),
    allowSameMachine: z.boolean(),
    coordinator: z.record(z.string(), z.union([z.string(), z.array(z.string())])),
  }),
  domains: z.array(z.string()),
  /** File names below the new member's folder, and what they hold. */
  files: z.record(z.string().regex(/^(tls|etcd)\/[a-z0-9.-]+$/), z.string()),
});
type Invitation = z.infer<typeof invitation>;

export interface InviteOrder {
  readonly config: Config;
  readonly member: string;
  readonly role: InvitedRole;
  /** Folder with ca.pem and ca.key of the cluster. */
  readonly authority: string;
  readonly days: number;
}

/** One line that admits its bearer to the cluster as `member`: a secret. @throws CommandFailure */
export async function makeInvitation(order: InviteOrder): Promise<string> {
  const { config, member, role, authority, days } = order;
  const { cluster } = config;
  if (cluster.link.plaintext) {
    throw new CommandFailure(
      "this cluster speaks plain text on loopback: a member elsewhere can't join it",
      exitStatus.usage,
    );
  }
  const files = await memberFiles(cluster.id, member, authority, days);
  const coordinator = coordinatorPart(cluster.coordinator, member, files);
  const { id, minCopies, allowSameMachine } = cluster;
  const content: Invitation = {
    member,
    role,
    cluster: { id, minCopies, allowSameMachine, coordinator },
    domains: [...config.domains],
    files,
  };
  return prefix + Buffer.from(JSON.stringify(content)).toString("base64url");
}

export interface JoinOrder {
  readonly token: string;
  /** Where the configuration and `tls/` are written. */
  readonly out: string;
  readonly dataDir: string;
  /** `host:port` at which other members reach this one: TCP for links, UDP for heartbeats. */
  readonly link: string;
  readonly http?: string;
}

export interface Joined {
  readonly member: string;
  readonly role: InvitedRole;
  readonly config: string;
  readonly written: readonly string[];
}

/** Writes `<out>/<member>.yaml` and its certificate. @throws CommandFailure; never overwrites. */
export function acceptInvitation(order: JoinOrder): Joined {
  const { member, role, cluster, domains, files } = decodeInvitation(order.token);
  const listener = (at: string | undefined, key: string) => {
    if (at === undefined) return {};
    const { host, port } = splitHostPort(at);
    return { [key]: { address: host, port } };
  };
  const configuration = {
    cluster: {
      ...cluster,
      link: { ca: "tls/ca.pem", cert: `tls/${member}.pem`, key: `tls/${member}.key` },
    },
    member: { id: member, role, dataDir: resolve(order.dataDir) },
    listen: { ...listener(order.link, "link"), ...listener(order.http, "http") },
    ...(role === "gateway" ? { domains } : {}),
  };
  const header = "# Written by `pabal cluster join`. Keys that may be added: docs/config.md.\n";
  const all = { ...files, [`${member}.yaml`]: header + stringify(configuration) };
  const config = join(order.out, `${member}.yaml`);
  return { member, role, config, written: writeFiles(order.out, all) };
}

function writeFiles(out: string, files: Readonly<Record<string, string>>): readonly string[] {
  const names = Object.keys(files).map((name) => join(out, name));
  const there = names.find((name) => existsSync(name) && !name.endsWith("ca.pem"));
  if (there !== undefined) {
    throw new CommandFailure(`${there} is there already: choose another --out`, exitStatus.noInput);
  }
  try {
    for (const folder of [out, join(out, "tls"), join(out, "etcd")]) {
      if (folder === out || Object.keys(files).some((name) => join(out, name).startsWith(folder))) {
        mkdirSync(folder, { recursive: true });
      }
    }
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(out, name), text, { mode: name.endsWith(".pem") ? 0o644 : 0o600 });
    }
  } catch (error) {
    throw fileFailure(out, error);
  }
  return names;
}

/** The member id in a token. @throws CommandFailure */
export function invitedMember(token: string): string {
  return decodeInvitation(token).member;
}

function decodeInvitation(token: string): Invitation {
  const text = token.trim();
  try {
    if (!text.startsWith(prefix)) throw new Error("not one");
    const json = Buffer.from(text.slice(prefix.length), "base64url").toString("utf8");
    return invitation.parse(JSON.parse(json));
  } catch (error) {
    throw new CommandFailure(
      "the token is not a whole one: it is the line that `pabal cluster invite` printed",
      exitStatus.usage,
      { cause: error },
    );
  }
}

/** The member's certificate and key, made in a folder that goes at once. */
async function memberFiles(
  cluster: string,
  member: string,
  authority: string,
  days: number,
): Promise<Record<string, string>> {
  const folder = mkdtempSync(join(tmpdir(), "pabal-invite-"));
  try {
    for (const name of ["ca.pem", "ca.key"]) {
      writeFileSync(join(folder, name), read(join(authority, name)), { mode: 0o600 });
    }
    await makeMemberCertificates({ cluster, out: folder, days, members: [member] });
    const names = ["ca.pem", `${member}.pem`, `${member}.key`];
    return Object.fromEntries(names.map((name) => [`tls/${name}`, read(join(folder, name))]));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Two members on one machine may have different ones. */
const endings = { cert: ".pem", key: ".key", passwordFile: ".password" };

function coordinatorPart(
  coordinator: Config["cluster"]["coordinator"],
  member: string,
  files: Record<string, string>,
): Invitation["cluster"]["coordinator"] {
  if (coordinator.kind === "embedded") {
    return { kind: "embedded", member: coordinator.member, address: coordinator.address ?? "" };
  }
  const { endpoints, username } = coordinator;
  const part: Invitation["cluster"]["coordinator"] = { kind: "etcd", endpoints: [...endpoints] };
  if (username !== undefined) part.username = username;
  for (const key of ["ca", "cert", "key", "passwordFile"] as const) {
    const file = coordinator[key];
    if (file === undefined) continue;
    const name = `etcd/${key === "ca" ? "ca.pem" : member + endings[key]}`;
    files[name] = read(file);
    part[key] = name;
  }
  return part;
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw fileFailure(file, error);
  }
}
