// What the token carries besides itself: load figures and what each gateway can't reach. Newest by
// the member's own counter wins; nothing here decides who holds the token.

import type { MemberId } from "../../mail/ids.ts";
import type { KeptLoad, RingState } from "./ring-state.ts";
import { loadsPerTokenMax } from "./ring-types.ts";
import type { CarriedLoad, ReachReport, RingEffect, RingLoad } from "./ring-types.ts";

/** Widths of pulse/ring-codec.ts, for a packet that fits 1200 bytes with the longest names. */
const packetBytes = 1200;
const frameBytes = 100 + 16;
const tokenBytes = 4 + 33 + 6 + 6 + 3;
const reachBytes = 6 + 6 + 1;
const loadBytes = 6 + 6 + 2 + 6 + 4 + 2 + 4 + 4 + 4 + 4;

export const unreachableMax = 24;
/** Members whose figures are kept at most; nodes and gateways together. */
const loadsMax = 1024;
/** Figures of a member that has been gone for so long are dropped. */
const loadAgeMaxMs = 300_000;

/** Takes figures if they are newer than the kept ones. */
export function mergeLoad(state: RingState, load: RingLoad, ageMs: number, nowMs: number): boolean {
  const kept = state.loads.get(load.member);
  if (kept === undefined && state.loads.size >= loadsMax) return false;
  if (ageMs > loadAgeMaxMs) return false;
  if (kept !== undefined && !laterCount(load, kept.load)) return false;
  state.loads.set(load.member, { load, takenMs: nowMs - ageMs, sentMs: -Infinity });
  return true;
}

/** Takes a gateway's report if it is newer than the kept one. */
export function mergeReach(state: RingState, report: ReachReport, out: RingEffect[]): void {
  const { gateway } = report;
  // What we can't reach only we know; of others only the present incarnation counts.
  if (gateway === state.me || state.gateways.get(gateway) !== report.boot) return;
  const kept = state.reach.get(gateway);
  if (kept !== undefined && !laterCount(report, kept)) return;
  state.reach.set(gateway, report);
  if (kept?.unreachable.join() === report.unreachable.join()) return;
  out.push({ kind: "reach", report });
}

export function onOwnReach(
  state: RingState,
  unreachable: readonly MemberId[],
  out: RingEffect[],
): void {
  const kept = state.reach.get(state.me);
  const sorted = unreachable.toSorted();
  if (kept !== undefined && kept.unreachable.join() === sorted.join()) return;
  const seq = (kept?.seq ?? 0) + 1;
  const report = { gateway: state.me, boot: state.boot, seq, unreachable: sorted };
  state.reach.set(state.me, report);
  out.push({ kind: "reach", report });
}

/** What came with a token was seen by all before us: it need not be first next time. */
export function mergeCarried(
  state: RingState,
  loads: readonly CarriedLoad[],
  reach: readonly ReachReport[],
  nowMs: number,
  out: RingEffect[],
): void {
  for (const { load, ageMs } of loads) {
    mergeLoad(state, load, ageMs, nowMs);
    const kept = state.loads.get(load.member);
    if (kept?.load.seq === load.seq && kept.load.boot === load.boot) kept.sentMs = nowMs;
  }
  for (const report of reach) mergeReach(state, report, out);
}

/** What the next token carries: all reach reports, then the loads that were longest not on a token. */
export function chooseCarried(
  state: RingState,
  order: readonly MemberId[],
  nowMs: number,
): { readonly reach: readonly ReachReport[]; readonly loads: readonly CarriedLoad[] } {
  let room = packetBytes - frameBytes - tokenBytes;
  for (const member of order) room -= idBytes(member);
  const reach: ReachReport[] = [];
  const reporters = [state.me, ...order.filter((member) => member !== state.me)];
  for (const report of reporters.flatMap((member) => state.reach.get(member) ?? [])) {
    let bytes = reachBytes + idBytes(report.gateway);
    if (bytes > room) break;
    const unreachable: MemberId[] = [];
    for (const node of report.unreachable.slice(0, unreachableMax)) {
      if (bytes + idBytes(node) > room) break;
      bytes += idBytes(node);
      unreachable.push(node);
    }
    reach.push({ ...report, unreachable });
    room -= bytes;
  }
  const loads: CarriedLoad[] = [];
  for (const [member, { takenMs }] of state.loads) {
    if (nowMs - takenMs > loadAgeMaxMs) state.loads.delete(member);
  }
  for (const kept of [...state.loads.values()].toSorted((a, b) => compareSent(a, b))) {
    room -= loadBytes + idBytes(kept.load.member);
    if (room < 0 || loads.length === loadsPerTokenMax) break;
    loads.push({ load: kept.load, ageMs: Math.round(Math.max(0, nowMs - kept.takenMs)) });
    kept.sentMs = nowMs;
  }
  return { reach, loads };
}

/** All figures with their ages now, by member. */
export function loadsNow(state: RingState, nowMs: number): readonly CarriedLoad[] {
  return [...state.loads.values()]
    .map(({ load, takenMs }) => ({ load, ageMs: nowMs - takenMs }))
    .toSorted((a, b) => (a.load.member < b.load.member ? -1 : 1));
}

interface Counted {
  readonly boot: number;
  readonly seq: number;
}

function laterCount(a: Counted, b: Counted): boolean {
  return a.boot > b.boot || (a.boot === b.boot && a.seq > b.seq);
}

function compareSent(a: KeptLoad, b: KeptLoad): number {
  return a.sentMs === b.sentMs ? 0 : a.sentMs < b.sentMs ? -1 : 1;
}

function idBytes(member: MemberId): number {
  return 1 + member.length;
}
