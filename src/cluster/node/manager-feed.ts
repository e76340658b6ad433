// What a gateway's manager is told: the shard table, who is registered, what this gateway and the
// others can reach, what members wish. Translates only; what follows is decided in protocol/manager*.ts.

import type { Timer } from "../../lib/clock.ts";
import { isMailError } from "../../mail/errors.ts";
import type { MemberId } from "../../mail/ids.ts";
import type { MailNode, ManagerEvent } from "../protocol/manager-types.ts";
import type { ClusterClient } from "./cluster-client.ts";
import { decodeReports } from "./failover-wire.ts";
import { decodeLoad } from "./load-figures.ts";
import type { LoadFigures } from "./load-figures.ts";
import { PresenceTable } from "./presence-table.ts";

/** A node that asked to be relieved is held to be unwell for so long. */
const degradedMs = 1000;
/** A node with less free disk gets no new copies: as disk.copyFree is by default. */
const crowdedPerMille = 100;
/** A main thread that was stuck for so long makes its node unwell. */
const stuckMs = 2000;
/** Loads are told anew this often; everything else at once. */
const membersEveryMs = 1000;

export class ManagerFeed {
  readonly #cluster: ClusterClient;
  readonly #step: (event: ManagerEvent) => void;
  readonly #ownLoad: () => unknown;
  readonly #degradedMs = new Map<MemberId, number>();
  /** What the degraded ones said of it: `recovering`, `stopping`. */
  readonly #states = new Map<MemberId, string>();
  /** Nodes whose link is watched. */
  readonly #linked = new Map<MemberId, () => void>();
  readonly #off: (() => void)[] = [];
  #presence: PresenceTable | undefined;
  #timer: Timer | undefined;
  #order = "";

  /** `ownLoad`: this gateway's figures, as they go out with replies; undefined: it has none. */
  constructor(cluster: ClusterClient, step: (event: ManagerEvent) => void, ownLoad: () => unknown) {
    this.#cluster = cluster;
    this.#step = step;
    this.#ownLoad = ownLoad;
  }

  /** @throws {MailError} UNAVAILABLE */
  async start(): Promise<void> {
    const { coordinator, shards, members, pulse, options } = this.#cluster;
    const { clock, logger } = options;
    this.#presence = await PresenceTable.open({ coordinator, clock, logger });
    this.#presence.onChange(() => this.#members());
    this.#off.push(members.onChange(() => this.#members()));
    this.#members();
    for (const config of shards.all()) this.#step({ kind: "table", config, nowMs: this.#nowMs });
    this.#off.push(
      shards.onChange((config) => this.#step({ kind: "table", config, nowMs: this.#nowMs })),
    );
    if (pulse === undefined) {
      this.#step({ kind: "acting", acting: true, nowMs: this.#nowMs });
    } else {
      this.#off.push(pulse.onEvent((event) => this.#pulseEvent(event)));
      this.#ring();
      this.#acting(pulse.acting());
    }
    this.#again();
  }

  close(): void {
    this.#timer?.cancel();
    this.#presence?.close();
    for (const off of [...this.#off, ...this.#linked.values()]) off();
  }

  /** A frame of a member's reports. @throws {MailError} INVALID */
  report(head: unknown): void {
    const { from, linked, reports, degraded, recovering, stopping } = decodeReports(head);
    if (degraded) {
      const state = stopping ? "stopping" : recovering ? "recovering" : "";
      const isNews = !this.#isDegraded(from.node) || this.#states.get(from.node) !== state;
      this.#degradedMs.set(from.node, this.#nowMs);
      this.#states.set(from.node, state);
      if (isNews) this.#members();
    }
    if (reports.length > 0) {
      this.#step({ kind: "report", from, linked, reports, nowMs: this.#nowMs });
    }
  }

  #pulseEvent(event: Parameters<Parameters<NonNullable<ClusterClient["pulse"]>["onEvent"]>[0]>[0]) {
    const nowMs = this.#nowMs;
    switch (event.kind) {
      case "silent":
      case "heard":
        // Only mail nodes matter to the manager; the ring looks after gateways.
        if (this.#cluster.members.get(event.member)?.role !== "node") return;
        this.#step({ kind: event.kind, node: event.member, nowMs });
        return;
      case "acting":
        this.#acting(event.acting);
        return;
      case "ring":
        this.#ring();
        return;
      default:
        return;
    }
  }

  #acting(acting: boolean): void {
    this.#step({ kind: "acting", acting, nowMs: this.#nowMs });
  }

  /** Who is on the ring, and what the others can't reach. */
  #ring(): void {
    const { pulse, options } = this.#cluster;
    const view = pulse?.ring();
    if (view === undefined) return;
    const nowMs = this.#nowMs;
    const gateways = view.order.length === 0 ? [options.member] : view.order;
    const order = gateways.join(" ");
    if (order !== this.#order) {
      this.#order = order;
      this.#step({ kind: "gateways", gateways, nowMs });
    }
    for (const { gateway, unreachable } of view.reach) {
      if (gateway !== options.member) {
        this.#step({ kind: "view", gateway, unreachable, nowMs });
      }
    }
  }

  #again(): void {
    this.#timer = this.#cluster.options.clock.after(membersEveryMs, () => this.#again());
    this.#members();
    this.#ring();
    this.#shareLoads();
    this.#shareRevision();
  }

  /** What came with replies goes round the ring, to gateways that have not asked these nodes lately. */
  #shareLoads(): void {
    const { links, members, pulse, options, incarnation } = this.#cluster;
    const own = this.#decoded(this.#ownLoad());
    if (own !== undefined) pulse?.setLoad({ member: options.member, boot: incarnation, ...own });
    for (const [node, figures] of links.loads()) {
      const boot = members.get(node)?.incarnation;
      const load = this.#decoded(figures);
      if (boot !== undefined && load !== undefined) pulse?.setLoad({ member: node, boot, ...load });
    }
  }

  /** A gateway whose watch is stuck learns from the ring that there is something newer. */
  #shareRevision(): void {
    const { shards, pulse, options } = this.#cluster;
    const { revision } = shards;
    pulse?.setTableRevision(revision);
    if ((pulse?.ring()?.tableRevision ?? 0) <= revision) return;
    shards.refresh().then(
      () => undefined,
      (error: unknown) => options.logger.error({ err: error }, "shard table not refreshed"),
    );
  }

  /** Nodes that have announced the start that is present now. */
  #members(): void {
    const nodes: MailNode[] = [];
    for (const record of this.#cluster.members.all()) {
      const { member, role, store, incarnation, failureDomain, draining } = record;
      if (role !== "node" || store === undefined) continue;
      this.#watchLink(member);
      if (this.#presence?.isPresent(record) !== true) continue;
      nodes.push({
        node: member,
        store,
        incarnation,
        failureDomain,
        draining: draining === true,
        degraded: this.#isDegraded(member),
        recovering: this.#states.get(member) === "recovering" && !this.#isStuck(member),
        stopping: this.#isDegraded(member) && this.#states.get(member) === "stopping",
        load: this.#loadOf(member),
        crowded: (this.#cluster.pulse?.vitals(member)?.diskFreePerMille ?? 1000) < crowdedPerMille,
      });
    }
    this.#step({ kind: "members", members: nodes, nowMs: this.#nowMs });
  }

  #isDegraded(node: MemberId): boolean {
    const askedMs = this.#degradedMs.get(node) ?? Number.NEGATIVE_INFINITY;
    return this.#nowMs - askedMs < degradedMs || this.#isStuck(node);
  }

  #isStuck(node: MemberId): boolean {
    return (this.#cluster.pulse?.vitals(node)?.loopLagMs ?? 0) > stuckMs;
  }

  #loadOf(node: MemberId): number {
    const figures = this.#decoded(this.#cluster.links.loads().get(node));
    return figures === undefined ? 0 : Math.min(1, figures.cpuPerMille / 1000);
  }

  #decoded(figures: unknown): LoadFigures | undefined {
    if (figures === undefined) return undefined;
    try {
      return decodeLoad(figures);
    } catch (error) {
      if (!isMailError(error, "INVALID")) throw error;
      return undefined;
    }
  }

  #watchLink(node: MemberId): void {
    if (this.#linked.has(node)) return;
    const { links, pulse } = this.#cluster;
    const peer = links.peer(node);
    let wasUp = peer.up;
    const tell = (up: boolean): void => {
      pulse?.setLink(node, up);
      this.#step({ kind: "link", node, state: up ? "up" : "reset", nowMs: this.#nowMs });
    };
    // One that was never up is silent, which the pulse says.
    if (wasUp) tell(true);
    this.#linked.set(
      node,
      peer.onChange((up) => {
        if (up || wasUp) tell(up);
        wasUp = true;
      }),
    );
  }

  get #nowMs(): number {
    return this.#cluster.options.clock.monotonicMs();
  }
}
