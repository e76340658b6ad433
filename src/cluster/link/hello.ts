// The first frame each way: who speaks, which version, for what. Both ends check it before any other
// frame is believed. Leaves certificates to certificates.ts and the order of links to link-server.ts.

import { memberId } from "../../mail/ids.ts";
import type { MemberId } from "../../mail/ids.ts";
import { FrameError } from "./frame.ts";
import { packValue, unpackValue } from "./wire-value.ts";

/**
 * Versions of the wire format: the newest that a member speaks, and the oldest that it understands. A
 * program understands the version before its own, so that a cluster is upgraded one member at a time.
 */
export interface WireRange {
  readonly version: number;
  readonly oldest: number;
}

/**
 * 1: the first. 2: members tell their versions in `members/<id>`; a node answers what copies it makes
 * and holds (copy.figures, shard.inspect). Raise it with each form that an older member can't do without.
 */
export const ownWire: WireRange = { version: 2, oldest: 1 };

/** `data`: requests. `clock`: heartbeats and leases, owned by their own thread. */
export type LinkPurpose = "data" | "clock";

/** What a member says of itself on each link. */
export interface SelfDescription {
  /** Cluster id: members of two clusters never talk. */
  readonly cluster: string;
  readonly member: MemberId;
  /** `gateway`, `node`, `coordinator`, `tool`; information only. */
  readonly role: string;
  /** Absent: this program's. Another one in tests only, to be taken for an older or newer program. */
  readonly wire?: WireRange;
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

export function encodeHello(
  hello: Omit<Hello, "version" | "oldest">,
  { version, oldest }: WireRange = ownWire,
): Uint8Array {
  return packValue({ magic, version, oldest, ...hello });
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
export function commonVersion(theirs: WireRange, ours: WireRange = ownWire): number | undefined {
  const version = Math.min(ours.version, theirs.version);
  return version >= ours.oldest && version >= theirs.oldest ? version : undefined;
}

/** Why this HELLO can't be accepted, in words for the log of both ends, or undefined. */
export function refusal(
  hello: Hello,
  expect: {
    readonly cluster: string;
    readonly member?: MemberId;
    readonly wire?: WireRange | undefined;
  },
): string | undefined {
  const { wire: ours = ownWire } = expect;
  if (commonVersion(hello, ours) === undefined) {
    const older = hello.version < ours.version ? hello.member : "this member";
    return `wire versions ${hello.oldest} to ${hello.version} are spoken by ${hello.member}, ${ours.oldest} to ${ours.version} here: upgrade ${older}, if need be by way of the versions between`;
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
