// What tests of the ring machine share: three gateways, a ring of them, and steps of one of them.

import { stepRing } from "../../../src/cluster/protocol/ring.ts";
import type { RingState } from "../../../src/cluster/protocol/ring-state.ts";
import type {
  RingEffect,
  RingEvent,
  RingMessage,
} from "../../../src/cluster/protocol/ring-types.ts";
import { memberId } from "../../../src/mail/ids.ts";
import type { MemberId } from "../../../src/mail/ids.ts";

export const [g1, g2, g3] = [memberId("g1"), memberId("g2"), memberId("g3")];
export const order = [g1, g2, g3];
export const ring = { term: 4, maker: g3 };

export type Token = Extract<RingMessage, { kind: "token" }>;

/** The token of `ring`, at its first hop unless said otherwise. */
export const token = (more: Partial<Token> = {}): Token => ({
  kind: "token",
  ring,
  seq: 1,
  order,
  tableRevision: 0,
  reach: [],
  loads: [],
  ...more,
});

export function step(state: RingState, event: RingEvent): readonly RingEffect[] {
  const out: RingEffect[] = [];
  stepRing(state, event, out);
  return out;
}

export function hear(state: RingState, from: MemberId, message: RingMessage, nowMs: number) {
  return step(state, { kind: "message", from, message, nowMs });
}
