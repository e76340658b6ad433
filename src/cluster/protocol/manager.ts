// The manager as a machine without I/O: runs in every gateway and acts while the ring says so. Every
// thing it does is one compare-and-set on a shard's key by its epoch, so that two of them, or a late
// one, do no harm. Paper §4.2.1: the token holder is the temporary manager.

import type { MemberId } from "../../mail/ids.ts";
import { unreachable } from "../../lib/assert.ts";
import { write } from "./manager-action.ts";
import {
  checkAction,
  onAskAnswer,
  onGraftAnswer,
  onHandOverAnswer,
  onSealAnswer,
} from "./manager-answer.ts";
import { forcePromote } from "./manager-plan.ts";
import { considerShard } from "./manager-shard.ts";
import { isWiped, movesKept } from "./manager-state.ts";
import type { KnownNode, ManagedShard, ManagerState } from "./manager-state.ts";
import type { MailNode, ManagerEffect, ManagerEvent, ManagerOrder } from "./manager-types.ts";
import { sameCopy } from "./shard-config.ts";
import type { ShardConfig } from "./shard-config.ts";

/** Takes one event: changes `state`, and appends to `out` what is to be done, in order. */
export function stepManager(state: ManagerState, event: ManagerEvent, out: ManagerEffect[]): void {
  state.nowMs = Math.max(state.nowMs, event.nowMs);
  switch (event.kind) {
    case "acting":
      return onActing(state, event.acting, out);
    case "table":
      return onTable(state, event.config, out);
    case "members":
      return onMembers(state, event.members, out);
    case "gateways":
      state.gateways = event.gateways;
      return considerAll(state, out);
    case "link":
      if (event.state === "reset") state.reset.add(event.node);
      else state.reset.delete(event.node);
      return considerAll(state, out);
    case "silent":
      state.silent.add(event.node);
      return considerAll(state, out);
    case "heard":
      if (state.silent.delete(event.node)) considerAll(state, out);
      return;
    case "view":
      return onView(state, event.gateway, event.unreachable, out);
    case "report":
      return onReport(state, event, out);
    case "order":
      return onOrder(state, event.order, out);
    case "tick":
      return considerAll(state, out);
    default:
      return onAnswer(state, event, out);
  }
}

type Answer = Extract<
  ManagerEvent,
  { kind: "sealAnswer" | "handOverAnswer" | "askAnswer" | "graftAnswer" | "wrote" }
>;

function onAnswer(state: ManagerState, event: Answer, out: ManagerEffect[]): void {
  const shard = state.shards.get(event.shard);
  if (shard === undefined) return;
  if (event.kind === "wrote") {
    onWrote(state, shard, event, out);
    return;
  }
  if (!state.acting) return;
  if (event.kind === "sealAnswer") {
    const { answer } = event;
    if (answer.kind === "newer") onTable(state, answer.config, out);
    else onSealAnswer(state, shard, event, out);
  } else if (event.epoch !== shard.config.epoch) {
    return;
  } else if (event.kind === "askAnswer") {
    onAskAnswer(state, shard, event, out);
  } else if (event.kind === "handOverAnswer") {
    onHandOverAnswer(state, shard, event, out);
  } else if (event.kind === "graftAnswer") {
    onGraftAnswer(state, shard, event, out);
  } else {
    return unreachable(event);
  }
  considerShard(state, shard, out);
}

function onActing(state: ManagerState, acting: boolean, out: ManagerEffect[]): void {
  state.acting = acting;
  // Whoever acts next begins from what members report; a write that is under way ends by itself.
  if (!acting) for (const shard of state.shards.values()) shard.action = undefined;
  considerAll(state, out);
}

function onTable(state: ManagerState, config: ShardConfig, out: ManagerEffect[]): void {
  const known = state.shards.get(config.shard);
  if (known !== undefined && known.config.epoch >= config.epoch) return;
  const movesMs =
    known === undefined || sameCopy(known.config.primary, config.primary)
      ? (known?.movesMs ?? [])
      : [state.nowMs, ...known.movesMs].slice(0, movesKept);
  const shard: ManagedShard = {
    config,
    sinceMs: state.nowMs,
    action: undefined,
    heard: new Map(),
    unfit: [],
    unfitUntilMs: 0,
    order: known?.order,
    movesMs,
    leavingSinceMs: undefined,
    restUntilMs: 0,
  };
  state.shards.set(config.shard, shard);
  considerShard(state, shard, out);
}

function onWrote(
  state: ManagerState,
  shard: ManagedShard,
  event: Extract<ManagerEvent, { kind: "wrote" }>,
  out: ManagerEffect[],
): void {
  const before = shard.config;
  const { action } = shard;
  if (action?.kind === "write" && before.epoch === event.ifEpoch) shard.action = undefined;
  const { current } = event;
  if (current === undefined || current.epoch <= before.epoch) {
    considerShard(state, shard, out);
    return;
  }
  const to = new Set<MemberId>();
  for (const { primary, secondaries, former = [] } of [before, current]) {
    for (const { node } of [primary, ...secondaries, ...former]) to.add(node);
  }
  out.push({ kind: "push", config: current, to: [...to] });
  onTable(state, current, out);
}

function onMembers(state: ManagerState, members: readonly MailNode[], out: ManagerEffect[]): void {
  const before = new Map(state.nodes);
  state.nodes.clear();
  for (const facts of members) {
    const known = before.get(facts.node) ?? state.gone.get(facts.node);
    state.nodes.set(facts.node, { facts, deathsMs: deathsOf(state, known, facts) });
    before.delete(facts.node);
    state.gone.delete(facts.node);
  }
  for (const [node, known] of before) state.gone.set(node, known);
  considerAll(state, out);
}

function deathsOf(
  state: ManagerState,
  known: KnownNode | undefined,
  { incarnation }: MailNode,
): readonly number[] {
  const deaths = known?.deathsMs ?? [];
  if (known === undefined || known.facts.incarnation === incarnation) return deaths;
  return [state.nowMs, ...deaths].slice(0, state.times.deathsMax);
}

function onView(
  state: ManagerState,
  gateway: MemberId,
  unreachable: readonly MemberId[],
  out: ManagerEffect[],
): void {
  if (gateway === state.me) return;
  const before = state.views.get(gateway)?.unreachable;
  state.views.set(gateway, { unreachable, atMs: state.nowMs });
  for (const known of state.views.keys()) {
    if (!state.gateways.includes(known)) state.views.delete(known);
  }
  const same =
    before?.length === unreachable.length && before.every((n) => unreachable.includes(n));
  if (!same) considerAll(state, out);
}

function onReport(
  state: ManagerState,
  { from, linked, reports }: Extract<ManagerEvent, { kind: "report" }>,
  out: ManagerEffect[],
): void {
  for (const report of reports) {
    const shard = state.shards.get(report.shard);
    if (shard === undefined) continue;
    if (shard.config.epoch !== report.epoch) {
      // News of the table are on their way here, or to the member, whose watch may be slow.
      const { config } = shard;
      const behind = state.acting && report.epoch < config.epoch;
      if (behind) out.push({ kind: "push", config, to: [from.node] });
      continue;
    }
    const of =
      report.kind === "removeSecondary" || report.kind === "synced" ? report.secondary : "";
    const key = `${report.kind} ${from.node} ${from.store} ${of === "" ? "" : of.node}`;
    shard.heard.set(key, { from, linked, report, atMs: state.nowMs });
    considerShard(state, shard, out);
  }
}

function onOrder(state: ManagerState, order: ManagerOrder, out: ManagerEffect[]): void {
  const shard = state.shards.get(order.shard);
  if (shard === undefined) {
    out.push({ kind: "alarm", why: "orderRefused", shard: order.shard });
    return;
  }
  if (order.kind !== "forcePromote") {
    shard.order = order;
    considerShard(state, shard, out);
    return;
  }
  // A node that is registered may serve still; one with another data folder has nothing to serve.
  const { primary } = shard.config;
  if (state.nodes.has(primary.node) && !isWiped(state, primary)) {
    out.push({ kind: "alarm", why: "orderRefused", shard: order.shard });
    return;
  }
  write(state, shard, forcePromote(shard.config, order.to), out);
}

function considerAll(state: ManagerState, out: ManagerEffect[]): void {
  if (!state.acting) return;
  for (const shard of state.shards.values()) {
    checkAction(state, shard, out);
    considerShard(state, shard, out);
  }
}
