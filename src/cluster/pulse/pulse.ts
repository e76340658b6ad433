// The main thread's view of the pulse: heartbeats, leases and the token ring run in a worker thread
// with its own UDP socket, so that a long parse here is not taken for death. What the data path asks
// (leases, who was heard) is read from shared memory. Wiring into members is node/'s.

import type { Epoch, MemberId, ShardId } from "../../mail/ids.ts";
import type { Clock } from "../../lib/clock.ts";
import type { Grant, Hold, HeartbeatTimes, Vitals } from "../protocol/heartbeat-types.ts";
import type { RingLoad, RingTimes, RingView } from "../protocol/ring-types.ts";

/** Another member as `members/<id>` has it. Datagrams of members that are not listed are dropped. */
export interface PulsePeer {
  readonly member: MemberId;
  readonly role: "gateway" | "node";
  /** Numeric address or a name. */
  readonly host: string;
  /** UDP; the `pulse` field of the member's record. */
  readonly port: number;
  /** Datagrams of or to another incarnation are void. */
  readonly incarnation: number;
}

export interface PulseKey {
  /** 0..255; names the key on the wire, so that keys can be changed while members run. */
  readonly id: number;
  /** 32 random bytes. */
  readonly secret: Uint8Array;
}

export interface PulseOptions {
  readonly clusterId: string;
  readonly member: MemberId;
  readonly role: "gateway" | "node";
  /** Of this process start, from the coordinator. One pulse an incarnation. */
  readonly incarnation: number;
  /** Address of the UDP socket; port 0 takes any (see `Pulse.port`). */
  readonly listen: { readonly host: string; readonly port: number };
  /** The first one signs; all are accepted. */
  readonly keys: readonly PulseKey[];
  /** Times that come from the pulse are times of this clock, which must be the system's. */
  readonly clock: Clock;
  /** Other ones in tests only. */
  readonly heartbeat?: Partial<HeartbeatTimes>;
  readonly ring?: Partial<RingTimes>;
}

export type PulseEvent =
  /** Nothing of the member for SUSPECT. */
  | { readonly kind: "silent"; readonly member: MemberId; readonly heardMs: number | undefined }
  | { readonly kind: "heard"; readonly member: MemberId }
  /** This gateway became, or is no longer, the acting manager; `acting()` says it at once. */
  | { readonly kind: "acting"; readonly acting: boolean }
  /** Members, reach or loads have changed: see `ring()`. At most every 100 ms, order changes at once. */
  | { readonly kind: "ring" }
  | { readonly kind: "vitals"; readonly member: MemberId; readonly vitals: Vitals }
  /** The machine slept or its clock was set: leases were dropped. */
  | { readonly kind: "clockJump"; readonly gapMs: number }
  /** Our bug or a dead socket: leases run out, the process should end. */
  | { readonly kind: "failed"; readonly error: Error };

export interface PulseCounters {
  readonly sent: number;
  readonly received: number;
  /** Datagrams dropped, by cause. */
  readonly dropped: Readonly<Record<PulseDrop, number>>;
}

export type PulseDrop =
  | "malformed"
  | "otherKey"
  | "forged"
  | "unknownSender"
  | "otherReceiver"
  | "otherIncarnation"
  | "replayed";

export interface Pulse {
  /** UDP port in use. */
  readonly port: number;
  /** All other members with a pulse. Replaces what was set before. */
  setPeers(peers: readonly PulsePeer[]): void;
  /** The first one signs from now on; give the new key to all members as a second one before. */
  setKeys(keys: readonly PulseKey[]): void;
  /** This member is a secondary of `shard` (undefined: not, or sealed). Use `revoke` before SEALED. */
  setGrant(shard: ShardId, grant: Grant | undefined): void;
  /** This member is the primary of `shard`. Leases of an earlier epoch are void when this returns. */
  setHold(shard: ShardId, hold: Hold | undefined): void;
  /**
   * Resolves when no lease of `shard` up to `epoch` is granted any more, nor ever will be.
   * `lastGrantedMs` is -Infinity when none was granted since the start.
   */
  revoke(shard: ShardId, epoch: Epoch): Promise<{ readonly lastGrantedMs: number }>;
  /** Send time of the newest heartbeat that `node` acknowledged for `shard` in the epoch held; -Infinity: none. Allocates nothing. */
  leaseStartMs(shard: ShardId, node: MemberId): number;
  /** When this member last granted a lease of `shard`; -Infinity: never. Rounded up to a millisecond; `revoke` answers exactly. */
  lastGrantedMs(shard: ShardId): number;
  /** When anything authentic last came from `member`; -Infinity: never. */
  heardMs(member: MemberId): number;
  onEvent(listener: (event: PulseEvent) => void): () => void;

  /** Gateways: what the ring looks like; undefined at nodes. */
  ring(): RingView | undefined;
  /** Gateways: true while this one may act as manager. Read from shared memory. */
  acting(): boolean;
  /** Gateways: there is work for a manager: pins the token when it comes by; false lets it go. */
  wantToken(wanted: boolean): void;
  /** Gateways: the link to a node was reset (false) or is up: reported over the ring at once. */
  setLink(node: MemberId, up: boolean): void;
  /** Gateways: figures that came with a reply, or this gateway's own. */
  setLoad(load: RingLoad): void;
  setTableRevision(revision: number): void;

  /** What goes out with every heartbeat; loop lag is added by the worker. */
  setVitals(vitals: Omit<Vitals, "loopLagMs">): void;
  /** Of the member's newest heartbeat. */
  vitals(member: MemberId): Vitals | undefined;
  /** How long this main thread has been stuck, as the worker saw it last; 0 when it is not. */
  loopLagMs(): number;
  counters(): PulseCounters;
  /** Closes the socket and ends the thread. Leases simply run out. */
  stop(): Promise<void>;
}
