// How a primary keeps one log of a secondary equal to its own: probes, catching up from the log,
// live shipping, acknowledgements. The copy's own log and the tail-first one are streams alike.

import { lsn as makeLsn } from "../../mail/ids.ts";
import type { Lsn, MemberId } from "../../mail/ids.ts";
import { assert } from "../../lib/assert.ts";
import { endHash, hashAt, tailEnd } from "./hash-tail.ts";
import { advanceCommit } from "./replica-commit.ts";
import type { PeerState, ReplicaState, SecondaryState } from "./replica-state.ts";
import type { ReplicaEffect, ReplicaEvent, ReplicaMessage } from "./replica-types.ts";

type Event<K extends ReplicaEvent<unknown>["kind"]> = Extract<ReplicaEvent<unknown>, { kind: K }>;
type Message<K extends ReplicaMessage<unknown>["kind"]> = Extract<
  ReplicaMessage<unknown>,
  { kind: K }
>;

/** So many entries fit the link's buffer, however large. */
const shipAtOnceMax = 16;

export function peerOf(state: Readonly<ReplicaState>, node: MemberId): SecondaryState | undefined {
  for (const peer of state.peers) if (peer.node === node) return peer;
  return undefined;
}

export function streamOf(
  state: Readonly<ReplicaState>,
  node: MemberId,
  tail: boolean,
): PeerState | undefined {
  const peer = peerOf(state, node);
  return tail ? peer?.first : peer;
}

export function newStream(node: MemberId, isTail: boolean, nowMs: number): PeerState {
  return {
    node,
    isTail,
    mode: "down",
    inc: 0,
    sentLsn: makeLsn(0),
    ackedLsn: makeLsn(0),
    reading: false,
    movedMs: nowMs,
    mark: makeLsn(0),
  };
}

/** Ships what was logged since the last flush to every secondary that follows live. */
export function shipAll<R>(
  state: ReplicaState,
  nowMs: number,
  hold: ReadonlySet<MemberId> | undefined,
  out: ReplicaEffect<R>[],
): void {
  for (const peer of state.peers) {
    if (hold?.has(peer.node) === true) continue;
    if (isBehind(state, peer)) ship(state, peer, nowMs, out);
    if (peer.first !== undefined && isBehind(state, peer.first)) {
      ship(state, peer.first, nowMs, out);
    }
  }
}

/** True when a flush would ship something on this stream. */
export function isBehind(state: Readonly<ReplicaState>, stream: PeerState): boolean {
  return stream.mode === "live" && stream.sentLsn < tailEnd(state.tail);
}

function ship<R>(
  state: ReplicaState,
  stream: PeerState,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const prevHash = hashAt(state.tail, stream.sentLsn);
  // What is committed meanwhile, by the other log of the same secondary for instance, is in the log only.
  if (prevHash === undefined || stream.sentLsn < state.commitLsn) {
    startFeed(state, stream, stream.sentLsn, nowMs, out);
    return;
  }
  if (stream.ackedLsn >= stream.sentLsn) stream.movedMs = nowMs;
  const { to, toInc, tail, epoch, mark } = address(state, stream);
  const fromLsn = makeLsn(stream.sentLsn + 1);
  const throughLsn = shipEnd(state, fromLsn);
  out.push({ kind: "ship", to, toInc, tail, epoch, fromLsn, throughLsn, prevHash, mark });
  stream.sentLsn = throughLsn;
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

/** Asks where a secondary's log ends; everything sent before may be lost. */
export function probe<R>(
  state: ReplicaState,
  stream: PeerState,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  stream.mode = state.up.has(stream.node) ? "probing" : "down";
  stream.reading = false;
  stream.movedMs = nowMs;
  if (stream.mode === "down") return;
  const { to, tail, epoch } = address(state, stream);
  const message = { kind: "probe", epoch, fromInc: state.inc, toInc: 0, tail } as const;
  out.push({ kind: "send", to, message });
}

export function onStatus<R>(
  state: ReplicaState,
  stream: PeerState,
  message: Message<"status">,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  if (message.fromInc > stream.inc) {
    // Another life of the secondary: what it says is what its disk kept.
    stream.inc = message.fromInc;
    stream.mark = makeLsn(0);
    const lost = message.reason === "probe" && message.lsn < stream.ackedLsn;
    // A tail that the copy's own log took over from was dropped on purpose.
    if (lost && stream.mode !== "done") {
      stream.ackedLsn = message.lsn;
      out.push({ kind: "alarm", why: "acknowledgedLost" });
    }
  }
  if (stream.mode === "done") return;
  if (message.reason === "damaged") {
    // Whatever it acknowledged of its log, the copy that takes its place says anew.
    stream.ackedLsn = makeLsn(0);
    stream.mark = makeLsn(0);
    stream.mode = "broken";
    stream.movedMs = nowMs;
    out.push({ kind: "alarm", why: "damaged" });
    return;
  }
  // A gap seen while we catch up is closed by what is on its way, or by the next probe.
  if (message.reason === "gap" && stream.mode !== "live") return;
  if (message.reason === "probe" && stream.mode !== "probing") return;
  if (isInMemory(state, message)) {
    stream.mode = "live";
    stream.sentLsn = message.lsn;
    stream.movedMs = nowMs;
    return;
  }
  startFeed(state, stream, message.lsn, nowMs, out);
}

/**
 * True when all that the secondary lacks is at hand, uncommitted as it is: the next flush ships it. The log
 * could be read only once it is on our own disk, so that each epoch would begin with two fsyncs in a row.
 */
function isInMemory(state: ReplicaState, { lsn, hash }: Message<"status">): boolean {
  const lacks = tailEnd(state.tail) - lsn;
  if (lacks <= 0 || lacks > shipAtOnceMax || lsn < state.commitLsn) return false;
  return hashAt(state.tail, lsn) === hash;
}

export function onAck<R>(
  state: ReplicaState,
  stream: PeerState,
  message: Message<"ack">,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const { lsn, hash, mark } = message;
  // The secondary was called complete by its own log: its tail, which ends with the epoch, counts no more.
  if (stream.mode === "done") return;
  // It was told to make its copy anew: what it said before that is void.
  if (stream.mode === "broken") return;
  if (lsn > tailEnd(state.tail)) return;
  // The hash proves that the secondary's log up to here is this one, not one from an earlier life.
  if (lsn >= state.tail.baseLsn && hashAt(state.tail, lsn) !== hash) return;
  if (mark > stream.mark) stream.mark = mark;
  if (lsn > stream.ackedLsn) {
    stream.ackedLsn = lsn;
    stream.movedMs = nowMs;
    advanceCommit(state, out);
  }
  if (stream.mode === "feeding" && !stream.reading && lsn >= stream.sentLsn) {
    continueFeed(state, stream, nowMs, out);
  }
}

export function onNeedBlob<R>(
  stream: PeerState,
  message: Message<"needBlob">,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  if (stream.mode !== "live" && stream.mode !== "feeding") return;
  stream.mode = "blobs";
  stream.reading = false;
  stream.sentLsn = makeLsn(message.lsn - 1);
  stream.movedMs = nowMs;
  const { node: to, inc: toInc, isTail: tail } = stream;
  out.push({ kind: "sendBlobs", to, toInc, tail, blobs: message.blobs });
}

export function onBlobsSent<R>(
  state: ReplicaState,
  event: Event<"blobsSent">,
  out: ReplicaEffect<R>[],
): void {
  const stream = streamOf(state, event.to, event.tail);
  if (stream?.mode !== "blobs" || stream.inc !== event.toInc) return;
  startFeed(state, stream, stream.sentLsn, event.nowMs, out);
}

export function onFed<R>(state: ReplicaState, event: Event<"fed">, out: ReplicaEffect<R>[]): void {
  const stream = streamOf(state, event.to, event.tail);
  if (stream?.mode !== "feeding" || stream.inc !== event.toInc) return;
  stream.reading = false;
  if (event.throughLsn <= stream.sentLsn) return;
  stream.sentLsn = event.throughLsn;
  stream.movedMs = event.nowMs;
  const atEnd = stream.sentLsn >= tailEnd(state.tail);
  if (atEnd || stream.ackedLsn >= stream.sentLsn) continueFeed(state, stream, event.nowMs, out);
}

/** A full secondary is to be removed then; another one makes its copy anew. */
export function onFeedGone<R>(
  state: ReplicaState,
  event: Event<"feedGone">,
  out: ReplicaEffect<R>[],
): void {
  const stream = streamOf(state, event.to, event.tail);
  if (stream?.mode !== "feeding" || stream.inc !== event.toInc) return;
  stream.mode = "broken";
  if (peerOf(state, event.to)?.copy.full !== false || stream.isTail) {
    out.push({ kind: "alarm", why: "tooFarBehind" });
    return;
  }
  const { to, toInc, tail, epoch } = address(state, stream);
  // It gives up what it had before it takes the copy: its next life may have nothing.
  stream.ackedLsn = makeLsn(0);
  stream.mark = makeLsn(0);
  const message = { kind: "copyNeeded", epoch, fromInc: state.inc, toInc, tail } as const;
  out.push({ kind: "send", to, message });
}

/** Streams that owe an answer are probed again, idle ones hear the commit mark. */
export function tickStream<R>(
  state: ReplicaState,
  stream: PeerState,
  full: boolean,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const { mode } = stream;
  if (mode === "down" || mode === "blobs" || mode === "done") return;
  const { probeMs, resendMs, copyProbeMs } = state.limits;
  const waitedMs = nowMs - stream.movedMs;
  if (mode === "broken") {
    // A copy that was made anew meanwhile follows again.
    if (!full && waitedMs >= copyProbeMs) probe(state, stream, nowMs, out);
    return;
  }
  const owes = mode !== "live" || stream.ackedLsn < stream.sentLsn;
  const late = waitedMs >= (mode === "probing" ? probeMs : resendMs);
  if (owes && late && !stream.reading) probe(state, stream, nowMs, out);
  else if (!owes && stream.mark < state.commitLsn && !stream.isTail) compare(state, stream, out);
}

function startFeed<R>(
  state: ReplicaState,
  stream: PeerState,
  afterLsn: Lsn,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  stream.mode = "feeding";
  // A secondary may hold more than we do; then the comparison at our end decides.
  stream.sentLsn = makeLsn(Math.min(afterLsn, tailEnd(state.tail)));
  continueFeed(state, stream, nowMs, out);
}

function continueFeed<R>(
  state: ReplicaState,
  stream: PeerState,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const end = tailEnd(state.tail);
  stream.movedMs = nowMs;
  if (stream.sentLsn >= end) {
    stream.mode = "live";
    compare(state, stream, out);
    return;
  }
  stream.reading = true;
  const { to, toInc, tail, epoch, mark } = address(state, stream);
  const fromLsn = makeLsn(stream.sentLsn + 1);
  out.push({ kind: "feed", to, toInc, tail, epoch, fromLsn, throughLsn: end, mark });
}

/** An append without entries: "my log's entry at its end is this one", and the commit mark. */
function compare<R>(state: ReplicaState, stream: PeerState, out: ReplicaEffect<R>[]): void {
  const { to, toInc, tail, epoch, mark } = address(state, stream);
  const base = { epoch, fromInc: state.inc, toInc, tail };
  const at = { prevLsn: tailEnd(state.tail), prevHash: endHash(state.tail), mark };
  out.push({ kind: "send", to, message: { kind: "append", ...base, ...at, entries: [] } });
}

function address(state: ReplicaState, stream: PeerState) {
  assert(state.config !== undefined, "a primary has a config");
  return {
    to: stream.node,
    toInc: stream.inc,
    tail: stream.isTail,
    epoch: state.config.epoch,
    mark: state.commitLsn,
  };
}
