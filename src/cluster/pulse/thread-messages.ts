// What the main thread and the pulse thread say to each other. Both are the same program, so nothing
// is checked; what must not wait for a message lies in shared-memory.ts.

import type { Epoch, MemberId, ShardId } from "../../mail/ids.ts";
import type { Grant, HeartbeatTimes, Hold, Vitals } from "../protocol/heartbeat-types.ts";
import type { RingLoad, RingTimes, RingView } from "../protocol/ring-types.ts";
import type { PulseEvent, PulseKey, PulsePeer } from "./pulse.ts";

export interface ThreadStart {
  readonly clusterId: string;
  readonly member: MemberId;
  readonly role: "gateway" | "node";
  readonly incarnation: number;
  readonly listen: { readonly host: string; readonly port: number };
  readonly keys: readonly PulseKey[];
  readonly heartbeat: HeartbeatTimes;
  readonly ring: RingTimes;
  readonly memory: SharedArrayBuffer;
  /** Main thread's clock minus process.hrtime, in milliseconds. */
  readonly clockOffsetMs: number;
}

export type ToThread =
  /** `slots` of shared memory: one a peer, in order. */
  | {
      readonly kind: "peers";
      readonly peers: readonly PulsePeer[];
      readonly slots: readonly number[];
    }
  | { readonly kind: "grant"; readonly shard: ShardId; readonly grant: Grant | undefined }
  /** `slots`: one a secondary. After `held` with the same number no earlier slot is written any more. */
  | {
      readonly kind: "hold";
      readonly shard: ShardId;
      readonly hold: Hold | undefined;
      readonly slots: readonly number[];
      readonly number: number;
    }
  | { readonly kind: "revoke"; readonly shard: ShardId; readonly epoch: Epoch; readonly id: number }
  | { readonly kind: "want"; readonly wanted: boolean }
  | { readonly kind: "link"; readonly node: MemberId; readonly up: boolean }
  | { readonly kind: "load"; readonly load: RingLoad }
  | { readonly kind: "tableRevision"; readonly revision: number }
  | { readonly kind: "vitals"; readonly vitals: Omit<Vitals, "loopLagMs"> }
  | { readonly kind: "keys"; readonly keys: readonly PulseKey[] }
  | { readonly kind: "stop" };

export type FromThread =
  | { readonly kind: "started"; readonly port: number }
  | { readonly kind: "held"; readonly number: number }
  | { readonly kind: "revoked"; readonly id: number; readonly lastGrantedMs: number }
  | { readonly kind: "event"; readonly event: Exclude<PulseEvent, { kind: "ring" | "failed" }> }
  | { readonly kind: "ring"; readonly view: RingView }
  | { readonly kind: "failed"; readonly error: Error };
