// Which message of another member counts, and for what: by its epoch, the incarnations of both ends,
// and the part that this copy plays. What is done then is in the other replica-*.ts.

import { epoch as makeEpoch } from "../../mail/ids.ts";
import type { MemberId } from "../../mail/ids.ts";
import { unreachable } from "../../lib/assert.ts";
import { onPull, onPulled } from "./replica-graft.ts";
import { copyFrom, onAppend, onProbe, startSecondary } from "./replica-secondary.ts";
import { onAck, onNeedBlob, onStatus, peerOf } from "./replica-streams.ts";
import type { ReplicaState } from "./replica-state.ts";
import type { ReplicaEffect, ReplicaMessage } from "./replica-types.ts";

export function onMessage<R>(
  state: ReplicaState,
  from: MemberId,
  message: ReplicaMessage<R>,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const { config } = state;
  if (message.toInc !== state.inc && message.kind !== "probe" && message.kind !== "pull") return;
  // A former member is told of an epoch that it was not part of.
  if (message.kind === "pulled") return onPulled(state, message, from, nowMs, out);
  if (!state.active || config === undefined) return;
  if (message.epoch !== config.epoch) return onOtherEpoch(state, from, message, out);
  switch (message.kind) {
    case "probe":
    case "append":
    case "copyNeeded":
      return onPrimarysMessage(state, from, message, out);
    case "pull":
      return onPull(state, message, from, out);
    case "needBlob":
      if (state.role !== "primary") return onPullersNeed(state, message, from, out);
      return onSecondarysMessage(state, from, message, nowMs, out);
    case "status":
    case "ack":
      return onSecondarysMessage(state, from, message, nowMs, out);
    case "refused":
      return;
    default:
      return unreachable(message);
  }
}

function onPrimarysMessage<R>(
  state: ReplicaState,
  from: MemberId,
  message: Extract<ReplicaMessage<R>, { kind: "probe" | "append" | "copyNeeded" }>,
  out: ReplicaEffect<R>[],
): void {
  const { config } = state;
  if (config === undefined || state.role !== "secondary") return;
  if (from !== config.primary.node || message.fromInc < state.primaryInc) return;
  if (state.sealedEpoch >= config.epoch) return;
  if (message.fromInc > state.primaryInc) {
    startSecondary(state);
    state.primaryInc = message.fromInc;
  }
  if (message.kind === "probe") onProbe(state, from, message.tail, out);
  else if (message.kind === "append") onAppend(state, from, message, out);
  else copyFrom(state, from, out);
}

function onSecondarysMessage<R>(
  state: ReplicaState,
  from: MemberId,
  message: Extract<ReplicaMessage<R>, { kind: "status" | "ack" | "needBlob" }>,
  nowMs: number,
  out: ReplicaEffect<R>[],
): void {
  const peer = state.role === "primary" ? peerOf(state, from) : undefined;
  const stream = message.tail ? peer?.first : peer;
  if (stream === undefined || message.fromInc < stream.inc) return;
  if (message.kind === "status") onStatus(state, stream, message, nowMs, out);
  else if (message.fromInc !== stream.inc) return;
  else if (message.kind === "ack") onAck(state, stream, message, nowMs, out);
  else onNeedBlob(stream, message, nowMs, out);
}

/** A copy that fetches our tail lacks bodies: it asks for the entries again when it has them. */
function onPullersNeed<R>(
  state: ReplicaState,
  message: Extract<ReplicaMessage<R>, { kind: "needBlob" }>,
  from: MemberId,
  out: ReplicaEffect<R>[],
): void {
  if (state.first === undefined || state.sealedEpoch < message.epoch) return;
  const { fromInc: toInc, blobs } = message;
  out.push({ kind: "sendBlobs", to: from, toInc, tail: true, blobs });
}

function onOtherEpoch<R>(
  state: ReplicaState,
  from: MemberId,
  message: ReplicaMessage<R>,
  out: ReplicaEffect<R>[],
): void {
  const mine = state.config?.epoch ?? makeEpoch(0);
  if (message.epoch > mine) {
    out.push({ kind: "refreshTable" });
  } else if (message.kind === "probe" || message.kind === "append") {
    const base = { epoch: mine, fromInc: state.inc, toInc: message.fromInc, tail: false };
    out.push({ kind: "send", to: from, message: { kind: "refused", ...base } });
  }
}
