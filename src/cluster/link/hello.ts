// The first frame each way: who speaks, which version, for what. Both ends check it before any other
// frame is believed. Leaves certificates to certificates.ts and the order of links to link-server.ts.

import { memberId } from "../../mail/ids.ts";
import type { MemberId } from "../../mail/ids.ts";
import { FrameError } from "./frame.ts";
import { packValue, unpackValue } from "./wire-value.ts";

/** Newest version of the wire format that this program speaks, and the oldest that it understands. */
export const wireVersion = 1;
export const wireVersionOldest = 1;

/** `data`: requests. `clock`: heartbeats and leases, owned by their own thread. */
export type LinkPurpose = "data" | "clock";

/** What a member says of itself on each link. */
export interface SelfDescription {
  /** Cluster id: members of two clusters never talk. */
  readonly cluster: string;
  readonly member: MemberId;
  /** `gateway`, `node`, `coordinator`, `tool`; information only. */
  readonly role: string;
  /** Process start as numbered by the coordinator; 0 until it is known. Read at each dial. */
  readonly incarnation: () => number;
}

export interface Hello {
  readonly version: number;
  readonly oldest: number;
  readonly cluster: string;
  readonly member: MemberId;
  readonly role: string;
  readonly incarnation: number;
  readonly purpose: LinkPurpose;
  /** Random text of this process start, and the number of this link in it: tells a late link from a new one. */
  readonly boot: string;
  readonly serial: number;
}

const magic = "PABAL";

/** Longest HELLO; nothing longer is read before the peer is known. */
export const helloBytesMax = 4096;

/** HELLO of this program's version. */
export function encodeHello(hello: Omit<Hello, "version" | "oldest">): Uint8Array {
  return packValue({ magic, version: wireVersion, oldest: wireVersionOldest, ...hello });
}

/** Unknown fields are ignored, missing or wrong ones refused. @throws {FrameError} */
export function decodeHello(head: Uint8Array): Hello {
  const value = unpackValue(head);
  if (typeof value !== "object" || value === null) throw new FrameError("HELLO is not a map");
  const fields = new Map<string, unknown>(Object.entries(value));
  if (fields.get("magic") !== magic) throw new FrameError("HELLO without our magic");
  const purpose = fields.get("purpose");
  if (purpose !== "data" && purpose !== "clock") throw new FrameError("HELLO of unknown purpose");
  return {
    version: numberIn(fields, "version"),
    oldest: numberIn(fields, "oldest"),
    cluster: textIn(fields, "cluster", /^[\x21-\x7e]{1,128}$/),
    member: memberId(textIn(fields, "member", memberPattern)),
    role: textIn(fields, "role", /^[a-z]{1,32}$/),
    incarnation: numberIn(fields, "incarnation"),
    purpose,
    boot: textIn(fields, "boot", /^[0-9a-f]{1,64}$/),
    serial: numberIn(fields, "serial"),
  };
}

/** Member id, as in the configuration and in certificates. */
export const memberPattern = /^[a-z][a-z0-9-]{0,31}$/;

/** The version both ends speak, or undefined when there is none. */
export function commonVersion(theirs: Pick<Hello, "version" | "oldest">): number | undefined {
  const version = Math.min(wireVersion, theirs.version);
  return version >= wireVersionOldest && version >= theirs.oldest ? version : undefined;
}

/** Why this HELLO can't be accepted, in words for the log of both ends, or undefined. */
export function refusal(
  hello: Hello,
  expect: { readonly cluster: string; readonly member?: MemberId },
): string | undefined {
  if (commonVersion(hello) === undefined) {
    return `wire versions ${hello.oldest} to ${hello.version} are spoken there, ${wireVersionOldest} to ${wireVersion} here`;
  }
  if (hello.cluster !== expect.cluster) {
    return `cluster is "${hello.cluster}" there, "${expect.cluster}" here`;
  }
  if (expect.member !== undefined && hello.member !== expect.member) {
    return `member is "${hello.member}" there, "${expect.member}" is expected`;
  }
  return undefined;
}

function numberIn(fields: ReadonlyMap<string, unknown>, name: string): number {
  const value = fields.get(name);
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw new FrameError(`HELLO with a bad ${name}`);
  }
  return value;
}

function textIn(fields: ReadonlyMap<string, unknown>, name: string, pattern: RegExp): string {
  const value = fields.get(name);
  if (typeof value !== "string" || !pattern.test(value)) {
    throw new FrameError(`HELLO with a bad ${name}`);
  }
  return value;
}
