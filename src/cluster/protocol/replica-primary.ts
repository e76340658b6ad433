// The primary's half of the replica: what may be proposed, when it is committed, and how each
// secondary is kept equal to this log. cluster.md "Primary, write". Events are dispatched by replica.ts.

import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Lsn, MemberId } from "../../mail/ids.ts";
import { assert } from "../../lib/assert.ts";
import { endHash, hashAt, pushHash, tailEnd } from "./hash-tail.ts";
import type {
  PeerState,
  ReplicaEffect,
  ReplicaEvent,
  ReplicaMessage,
  ReplicaState,
} from "./replica-types.ts";
import type { ShardConfig } from "./shard-config.ts";

type Event<K extends ReplicaEvent<unknown>["kind"]> = Extract<ReplicaEvent<unknown>, { kind: K }>;
type Message<K extends ReplicaMessage<unknown>["kind"]> = Extract<
  ReplicaMessage<unknown>,
  { kind: K }
>;

/** Takes up the part of primary: nothing is served before what the log holds now is committed. */
export function startPrimary<R>(
  state: ReplicaState,
  config: ShardConfig,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  state.barrierLsn = tailEnd(state.tail);
  if (state.endEpoch < config.epoch) {
    // Every epoch begins with NEWEPOCH, also when the primary stays; after a restart it may be there.
    state.barrierLsn = makeLsn(state.barrierLsn + 1);
    out.push(appendEffect<R>(state, undefined));
  }
  state.peers = config.secondaries.map((secondary) => ({
    node: secondary.node,
    mode: "down",
    inc: 0,
    sentLsn: makeLsn(0),
    ackedLsn: makeLsn(0),
    reading: false,
    movedMs: nowMs,
    mark: makeLsn(0),
  }));
  for (const peer of state.peers) probe(state, peer, nowMs, out);
  advanceCommit(state, out);
}

/** This copy is no primary: whether its proposals are committed is another's decision. */
export function forgetProposals(state: ReplicaState): void {
  state.waiting = [];
  state.waitingStart = 0;
  state.waitingBytes = 0;
}

export function onPropose<R>(
  state: ReplicaState,
  event: Extract<ReplicaEvent<R>, { kind: "propose" }>,
  serving: boolean,
  out: ReplicaEffect<R>[],
): void {
  const { ref, bytes } = event;
  const { uncommittedEntriesMax, uncommittedBytesMax } = state.limits;
  const full =
    state.waiting.length - state.waitingStart >= uncommittedEntriesMax ||
    state.waitingBytes + bytes > uncommittedBytesMax;
  if (!serving || full) {
    const why = serving ? "backlog" : "notServing";
    out.push({ kind: "refuse", ref, why, epoch: state.config?.epoch });
    return;
  }
  out.push(appendEffect(state, ref));
}

export function onLogged(state: ReplicaState, event: Event<"logged">): void {
  assert(state.config !== undefined && state.role === "primary", "only a primary logs of its own");
  pushHash(state.tail, event.lsn, event.hash);
  state.endEpoch = state.config.epoch;
  state.waiting.push({ lsn: event.lsn, atMs: event.nowMs, bytes: event.bytes });
  state.waitingBytes += event.bytes;
}

/** Commits what is durable on every member and on at least `minCopies` of them, in order. */
export function advanceCommit<R>(state: ReplicaState, out: ReplicaEffect<R>[]): void {
  const { config } = state;
  if (config === undefined || state.configDurableEpoch < config.epoch) return;
  if (1 + state.peers.length < config.minCopies) return;
  let through = state.durableLsn;
  for (const peer of state.peers) if (peer.ackedLsn < through) through = peer.ackedLsn;
  if (through <= state.commitLsn) return;
  const fromLsn = makeLsn(state.commitLsn + 1);
  state.commitLsn = through;
  settleWaiting(state, through);
  out.push({ kind: "commit", fromLsn, throughLsn: through });
}

/** Ships what was logged since the last flush to every secondary that follows live. */
export function shipAll<R>(
  state: ReplicaState,
  nowMs: number,
  hold: ReadonlySet<MemberId> | undefined,
  out: ReplicaEffect<R>[],
): void {
  for (const peer of state.peers) {
    if (!isBehind(state, peer) || hold?.has(peer.node) === true) continue;
    const prevHash = hashAt(state.tail, peer.sentLsn);
    if (prevHash === undefined) {
      startFeed(state, peer, peer.sentLsn, nowMs, out);
      continue;
    }
    if (peer.ackedLsn >= peer.sentLsn) peer.movedMs = nowMs;
    const { to, toInc, epoch, mark } = address(state, peer);
    const fromLsn = makeLsn(peer.sentLsn + 1);
    const throughLsn = shipEnd(state, fromLsn);
    out.push({ kind: "ship", to, toInc, epoch, fromLsn, throughLsn, prevHash, mark });
    peer.sentLsn = throughLsn;
  }
}

/** True when a flush would ship something to this secondary. */
export function isBehind(state: Readonly<ReplicaState>, peer: PeerState): boolean {
  return peer.mode === "live" && peer.sentLsn < tailEnd(state.tail);
}

/** The last entry from `fromLsn` on that one flush ships; at least one. */
function shipEnd(state: ReplicaState, fromLsn: Lsn): Lsn {
  const end = tailEnd(state.tail);
  const first = state.waiting[state.waitingStart];
  if (first === undefined || state.waitingBytes <= state.limits.shipBytesMax) return end;
  let bytes = 0;
  for (let lsn = fromLsn; lsn < end; lsn = makeLsn(lsn + 1)) {
    bytes += state.waiting[state.waitingStart + lsn - first.lsn]?.bytes ?? 0;
    if (bytes >= state.limits.shipBytesMax) return lsn;
  }
  return end;
}

/** Asks a secondary where it is; everything sent before may be lost. */
export function probe<R>(
  state: ReplicaState,
  peer: PeerState,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  peer.mode = state.up.has(peer.node) ? "probing" : "down";
  peer.reading = false;
  peer.movedMs = nowMs;
  if (peer.mode === "down") return;
  const { to, epoch } = address(state, peer);
  const message = { kind: "probe", epoch, fromInc: state.inc, toInc: 0 } as const;
  out.push({ kind: "send", to, message });
}

export function onStatus<R>(
  state: ReplicaState,
  peer: PeerState,
  message: Message<"status">,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  if (message.fromInc > peer.inc) {
    // Another life of the secondary: what it says is what its disk kept.
    peer.inc = message.fromInc;
    if (message.reason === "probe" && message.lsn < peer.ackedLsn) {
      peer.ackedLsn = message.lsn;
      out.push({ kind: "alarm", why: "acknowledgedLost" });
    }
  }
  if (message.reason === "damaged") {
    peer.mode = "broken";
    out.push({ kind: "alarm", why: "damaged" });
    return;
  }
  // A gap seen while we catch up is closed by what is on its way, or by the next probe.
  if (message.reason === "gap" && peer.mode !== "live") return;
  if (message.reason === "probe" && peer.mode !== "probing") return;
  startFeed(state, peer, message.lsn, nowMs, out);
}

export function onAck<R>(
  state: ReplicaState,
  peer: PeerState,
  message: Message<"ack">,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const { lsn, hash, mark } = message;
  if (lsn > tailEnd(state.tail)) return;
  // The hash proves that the secondary's log up to here is this one, not one from an earlier life.
  if (lsn >= state.tail.baseLsn && hashAt(state.tail, lsn) !== hash) return;
  if (mark > peer.mark) peer.mark = mark;
  if (lsn > peer.ackedLsn) {
    peer.ackedLsn = lsn;
    peer.movedMs = nowMs;
    advanceCommit(state, out);
  }
  if (peer.mode === "feeding" && !peer.reading && lsn >= peer.sentLsn) {
    continueFeed(state, peer, nowMs, out);
  }
}

export function onNeedBlob<R>(
  state: ReplicaState,
  peer: PeerState,
  message: Message<"needBlob">,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  if (peer.mode !== "live" && peer.mode !== "feeding") return;
  peer.mode = "blobs";
  peer.reading = false;
  peer.sentLsn = makeLsn(message.lsn - 1);
  peer.movedMs = nowMs;
  out.push({ kind: "sendBlobs", to: peer.node, toInc: peer.inc, blobs: message.blobs });
}

export function onBlobsSent<R>(
  state: ReplicaState,
  event: Event<"blobsSent">,
  out: ReplicaEffect<R>[],
): void {
  const peer = peerOf(state, event.to);
  if (peer?.mode !== "blobs" || peer.inc !== event.toInc) return;
  startFeed(state, peer, peer.sentLsn, event.nowMs, out);
}

export function onFed<R>(state: ReplicaState, event: Event<"fed">, out: ReplicaEffect<R>[]): void {
  const peer = peerOf(state, event.to);
  if (peer?.mode !== "feeding" || peer.inc !== event.toInc) return;
  peer.reading = false;
  if (event.throughLsn <= peer.sentLsn) return;
  peer.sentLsn = event.throughLsn;
  peer.movedMs = event.nowMs;
  const atEnd = peer.sentLsn >= tailEnd(state.tail);
  if (atEnd || peer.ackedLsn >= peer.sentLsn) continueFeed(state, peer, event.nowMs, out);
}

export function onFeedGone<R>(
  state: ReplicaState,
  event: Event<"feedGone">,
  out: ReplicaEffect<R>[],
): void {
  const peer = peerOf(state, event.to);
  if (peer?.mode !== "feeding" || peer.inc !== event.toInc) return;
  peer.mode = "broken";
  out.push({ kind: "alarm", why: "tooFarBehind" });
}

/** Deadlines: unknown outcomes, secondaries that owe an answer, commit marks of an idle shard. */
export function tickPrimary<R>(state: ReplicaState, nowMs: number, out: ReplicaEffect<R>[]): void {
  expire(state, nowMs, out);
  for (const peer of state.peers) {
    if (peer.mode === "down" || peer.mode === "broken" || peer.mode === "blobs") continue;
    const owes = peer.mode !== "live" || peer.ackedLsn < peer.sentLsn;
    const { probeMs, resendMs } = state.limits;
    const late = nowMs - peer.movedMs >= (peer.mode === "probing" ? probeMs : resendMs);
    if (owes && late && !peer.reading) probe(state, peer, nowMs, out);
    else if (!owes && peer.mark < state.commitLsn) compare(state, peer, out);
  }
}

export function peerOf(state: ReplicaState, node: MemberId): PeerState | undefined {
  return state.peers.find((peer) => peer.node === node);
}

function startFeed<R>(
  state: ReplicaState,
  peer: PeerState,
  afterLsn: Lsn,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  peer.mode = "feeding";
  // A secondary may hold more than we do; then the comparison at our end decides.
  peer.sentLsn = makeLsn(Math.min(afterLsn, tailEnd(state.tail)));
  continueFeed(state, peer, nowMs, out);
}

function continueFeed<R>(
  state: ReplicaState,
  peer: PeerState,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const end = tailEnd(state.tail);
  peer.movedMs = nowMs;
  if (peer.sentLsn >= end) {
    peer.mode = "live";
    compare(state, peer, out);
    return;
  }
  peer.reading = true;
  const { to, toInc, epoch, mark } = address(state, peer);
  const fromLsn = makeLsn(peer.sentLsn + 1);
  out.push({ kind: "feed", to, toInc, epoch, fromLsn, throughLsn: end, mark });
}

/** An append without entries: "my log's entry at its end is this one", and the commit mark. */
function compare<R>(state: ReplicaState, peer: PeerState, out: ReplicaEffect<R>[]): void {
  const { to, toInc, epoch, mark } = address(state, peer);
  const at = { prevLsn: tailEnd(state.tail), prevHash: endHash(state.tail) };
  const message = { kind: "append", epoch, fromInc: state.inc, toInc, ...at, mark, entries: [] };
  out.push({ kind: "send", to, message: { ...message, kind: "append" } });
}

function appendEffect<R>(
  state: ReplicaState,
  ref: R | undefined,
): Extract<ReplicaEffect<R>, { kind: "append" }> {
  assert(state.config !== undefined, "a primary has a config");
  const { epoch } = state.config;
  const lsn = makeLsn(tailEnd(state.tail) + 1);
  const prevHash = endHash(state.tail);
  return { kind: "append", lsn, epoch, prevHash, mark: state.commitLsn, ref };
}

function address(state: ReplicaState, peer: PeerState) {
  assert(state.config !== undefined, "a primary has a config");
  return { to: peer.node, toInc: peer.inc, epoch: state.config.epoch, mark: state.commitLsn };
}

function settleWaiting(state: ReplicaState, through: Lsn): void {
  const { waiting } = state;
  let start = state.waitingStart;
  for (
    let next = waiting[start];
    next !== undefined && next.lsn <= through;
    next = waiting[start]
  ) {
    state.waitingBytes -= next.bytes;
    start += 1;
  }
  state.waitingStart = start;
  if (start < waiting.length && start < 1024) return;
  waiting.splice(0, start);
  state.waitingStart = 0;
}

function expire<R>(state: ReplicaState, nowMs: number, out: ReplicaEffect<R>[]): void {
  const first = state.waiting[state.waitingStart];
  if (first === undefined) return;
  // Waiting entries have neighbouring lsns, so the first unexpired one is found without a search.
  const done = Math.max(0, state.expiredLsn - first.lsn + 1);
  let through = state.expiredLsn;
  for (let i = state.waitingStart + done; i < state.waiting.length; i += 1) {
    const next = state.waiting[i];
    if (next === undefined || nowMs - next.atMs < state.limits.commitMs) break;
    through = next.lsn;
  }
  if (through === state.expiredLsn) return;
  state.expiredLsn = through;
  out.push({ kind: "expire", throughLsn: through });
}
