// Words of the token ring among gateways: it carries liveness, load and preference, and names the
// acting manager. No safety rule depends on it. Rules are in ring*.ts; bytes and sockets in pulse/.

import type { MemberId } from "../../mail/ids.ts";

/**
 * Names one ring and one order of members. Each change of the order makes a new one, with a higher
 * term than any that its maker has seen. Totally ordered: by term, then by maker. No two rings have the
 * same id, also when their maker was started anew in between (`livesPerTerm`).
 */
export interface RingId {
  readonly term: number;
  readonly maker: MemberId;
}

/** Load figures of one member; numbered by that member itself. */
export interface RingLoad {
  readonly member: MemberId;
  /** The member's incarnation. Newest (boot, seq) wins. */
  readonly boot: number;
  readonly seq: number;
  readonly cpuPerMille: number;
  readonly queueBytes: number;
  readonly fsyncP99Micros: number;
  readonly diskFreePerMille: number;
  readonly users: number;
  readonly sessions: number;
  readonly ioPerSecond: number;
}

/** How old the figures were when the packet left. */
export interface CarriedLoad {
  readonly load: RingLoad;
  readonly ageMs: number;
}

/** Which nodes a gateway can't reach: link reset, or silent for SUSPECT. Numbered by that gateway. */
export interface ReachReport {
  readonly gateway: MemberId;
  readonly boot: number;
  readonly seq: number;
  readonly unreachable: readonly MemberId[];
}

export type RingMessage =
  | {
      readonly kind: "token";
      readonly ring: RingId;
      /** Hops since the ring was made. A token that is not newer than the last one seen is void. */
      readonly seq: number;
      readonly order: readonly MemberId[];
      readonly tableRevision: number;
      readonly reach: readonly ReachReport[];
      readonly loads: readonly CarriedLoad[];
    }
  | { readonly kind: "hopAck"; readonly ring: RingId; readonly seq: number }
  /** Keep-alive of a holder that pinned the token, to all members. */
  | { readonly kind: "pinned"; readonly ring: RingId; readonly seq: number }
  /**
   * To a holder that pinned the token: what the sender can't reach, and has told on no token yet. An
   * older program counts it as malformed, and learns the same from the next round.
   */
  | { readonly kind: "reach"; readonly report: ReachReport }
  /** I have no ring, or another one. `hearsYou`: of the receiver something came lately. */
  | { readonly kind: "join"; readonly ring: RingId; readonly hearsYou: boolean }
  | { readonly kind: "form"; readonly ring: RingId; readonly order: readonly MemberId[] }
  /** From a holder to gateways outside its ring: there is a ring here. */
  | {
      readonly kind: "merge";
      readonly ring: RingId;
      readonly order: readonly MemberId[];
      readonly hearsYou: boolean;
    };

export type RingEvent =
  /** Registered gateways but this one. */
  | {
      readonly kind: "gateways";
      readonly gateways: readonly { readonly member: MemberId; readonly boot: number }[];
      readonly nowMs: number;
    }
  | {
      readonly kind: "message";
      readonly from: MemberId;
      readonly message: RingMessage;
      readonly nowMs: number;
    }
  /** There is work for a manager (or no more): pins the token at its next visit, or lets it go. */
  | { readonly kind: "want"; readonly wanted: boolean; readonly nowMs: number }
  /** The nodes that this gateway can't reach now. */
  | {
      readonly kind: "reach";
      readonly unreachable: readonly MemberId[];
      readonly nowMs: number;
    }
  /** Figures that came with a reply of `load.member`. */
  | { readonly kind: "load"; readonly load: RingLoad; readonly nowMs: number }
  | { readonly kind: "tableRevision"; readonly revision: number }
  /** The main thread is stuck (or goes on): a stuck one manages nothing, so it pins nothing. */
  | { readonly kind: "stalled"; readonly stalled: boolean; readonly nowMs: number }
  /** At `nextRingMs(state)` or any other time. */
  | { readonly kind: "tick"; readonly nowMs: number };

export type RingEffect =
  | { readonly kind: "send"; readonly to: MemberId; readonly message: RingMessage }
  /** This gateway is (no longer) the acting manager. */
  | { readonly kind: "acting"; readonly acting: boolean }
  /** Members or their order are other ones now. */
  | { readonly kind: "order"; readonly order: readonly MemberId[] }
  /** What a gateway reports of nodes has changed. */
  | { readonly kind: "reach"; readonly report: ReachReport }
  /** A successor did not take the token: left out. */
  | { readonly kind: "skipped"; readonly member: MemberId };

export interface RingTimes {
  readonly holdMs: number;
  /** The token is sent again after so long, until `hopMs`; then the successor is left out. */
  readonly resendMs: number;
  readonly hopMs: number;
  readonly hopAllowanceMs: number;
  readonly lostMinMs: number;
  readonly lostMaxMs: number;
  readonly rankMs: number;
  readonly gatherMs: number;
  readonly joinEveryMs: number;
  readonly keepAliveMs: number;
  /** A pinned token goes on after so long even if there is work left. */
  readonly pinMaxMs: number;
  /** The holder calls gateways outside its ring so often. */
  readonly mergeEveryMs: number;
  /** One that was left out comes in again no sooner, so that a bad path does not stall the ring. */
  readonly rejoinMs: number;
}

export const ringTimes: RingTimes = {
  holdMs: 20,
  resendMs: 15,
  hopMs: 120,
  hopAllowanceMs: 10,
  lostMinMs: 300,
  lostMaxMs: 600,
  rankMs: 40,
  gatherMs: 80,
  joinEveryMs: 25,
  keepAliveMs: 40,
  pinMaxMs: 5000,
  mergeEveryMs: 100,
  rejoinMs: 500,
};

/**
 * More gateways than this are not on the ring: the first ones by id are. So many of the longest names
 * fit a datagram.
 */
export const ringMembersMax = 30;
export const loadsPerTokenMax = 24;
/**
 * A term modulo this is its maker's incarnation modulo this: a new start of a gateway, which does not
 * know what the one before has named, names nothing the same. A ring ends about a second after its
 * maker's death, so that so many lives are told apart by far. Terms have 32 bits on the wire.
 */
export const livesPerTerm = 16;

/** What a gateway knows of the ring now. */
export interface RingView {
  readonly ring: RingId;
  readonly order: readonly MemberId[];
  /** Last member known to have the token; undefined while there is no ring. */
  readonly holder: MemberId | undefined;
  readonly pinned: boolean;
  /** Time of the last whole round; undefined before there was one. */
  readonly rotationMs: number | undefined;
  readonly acting: boolean;
  readonly tableRevision: number;
  /** Of every gateway on the ring that has reported, this one too. */
  readonly reach: readonly ReachReport[];
  readonly loads: readonly CarriedLoad[];
}
