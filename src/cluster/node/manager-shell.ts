// Runs the manager machine in a gateway: feeds it what this gateway knows, and does what it says, over
// links and in the coordinator. What to do is decided in protocol/manager*.ts; what is known comes
// from manager-feed.ts.

import type { Timer } from "../../lib/clock.ts";
import { unreachable } from "../../lib/assert.ts";
import { isMailError } from "../../mail/errors.ts";
import type { MemberId } from "../../mail/ids.ts";
import type { RpcRegistry, RpcReply } from "../link/rpc.ts";
import { standingAlarms } from "../protocol/manager-alarms.ts";
import { makeManager } from "../protocol/manager-state.ts";
import type { ManagerState } from "../protocol/manager-state.ts";
import { stepManager } from "../protocol/manager.ts";
import type { ManagerEffect, ManagerEvent, ManagerOrder } from "../protocol/manager-types.ts";
import type { ShardConfig } from "../protocol/shard-config.ts";
import { AlarmBoard } from "./alarm-board.ts";
import type { ClusterClient } from "./cluster-client.ts";
import {
  decodeLinked,
  decodePosition,
  decodeSealAnswer,
  decodeTable,
  encodeGraftRequest,
  encodeSealRequest,
  encodeShardAt,
  encodeTable,
  failoverMethods,
} from "./failover-wire.ts";
import { ManagerBalance } from "./manager-balance.ts";
import { ManagerFeed } from "./manager-feed.ts";
import { hasWork } from "./manager-work.ts";
import { ManagerWrites } from "./manager-writes.ts";
import { TableNews } from "./table-news.ts";

type EffectOf<K extends ManagerEffect["kind"]> = Extract<ManagerEffect, { kind: K }>;

const tickMs = 50;
const alarmsEveryMs = 500;
const sealMs = 2000;
/** The machine gives a handover up after less. */
const handOverMs = 5000;
const graftMs = 5000;

export class ManagerShell {
  readonly alarms: AlarmBoard;
  readonly news = new TableNews();
  readonly #cluster: ClusterClient;
  readonly #state: ManagerState;
  readonly #feed: ManagerFeed;
  readonly #writes: ManagerWrites;
  readonly #balance: ManagerBalance;
  #timer: Timer | undefined;
  #wanted = false;
  #closed = false;
  #alarmsDueMs = 0;

  /** The cluster's tables are open by now. `ownLoad`: this gateway's figures, for the ring. */
  constructor(cluster: ClusterClient, ownLoad: () => unknown) {
    const { coordinator, shards: table, options } = cluster;
    const { random, clock, logger } = options;
    this.#cluster = cluster;
    this.#state = makeManager(options.member);
    this.alarms = new AlarmBoard(logger);
    this.#feed = new ManagerFeed(cluster, (event) => this.step(event), ownLoad);
    this.#balance = new ManagerBalance(this.#state);
    this.#writes = new ManagerWrites({
      coordinator,
      table,
      random,
      clock,
      logger,
      onWrote: ({ shard, ifEpoch, current, revision }) => {
        this.step({ kind: "wrote", shard, ifEpoch, current, nowMs: this.#nowMs });
        if (current !== undefined) table.learn(current, revision);
      },
    });
  }

  /** What members send. Call before links are accepted; `started` gives the shell once it is there. */
  static register(
    registry: RpcRegistry,
    cluster: ClusterClient,
    started: () => ManagerShell | undefined,
  ): void {
    registry.onSend(failoverMethods.report, ({ head }) => started()?.report(head));
    registry.onSend(failoverMethods.table, ({ head }) => {
      if (!cluster.isReady) return;
      for (const config of decodeTable(head)) cluster.shards.learn(config);
    });
  }

  /** @throws {MailError} UNAVAILABLE, when the coordinator goes away right now */
  async start(): Promise<void> {
    await this.#feed.start();
    this.#tick();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#writes.close();
    this.#feed.close();
  }

  /** What a member wishes. @throws {MailError} INVALID */
  report(head: unknown): void {
    this.#feed.report(head);
  }

  get acting(): boolean {
    return this.#state.acting;
  }

  /** Something an operator, or the balance, wants. Refused unless this gateway acts now. */
  order(order: ManagerOrder): void {
    this.step({ kind: "order", order, nowMs: this.#nowMs });
  }

  step(event: ManagerEvent): void {
    if (this.#closed) return;
    if (event.kind === "table") this.news.note(event.config, event.nowMs);
    const effects: ManagerEffect[] = [];
    stepManager(this.#state, event, effects);
    for (const effect of effects) this.#perform(effect);
    if (event.kind !== "heard") this.#want();
  }

  #tick(): void {
    const { clock, logger } = this.#cluster.options;
    this.#timer = clock.after(tickMs, () => this.#tick());
    this.step({ kind: "tick", nowMs: this.#nowMs });
    if (this.#nowMs >= this.#alarmsDueMs) {
      this.#alarmsDueMs = this.#nowMs + alarmsEveryMs;
      this.alarms.update(standingAlarms(this.#state), this.#nowMs);
    }
    for (const order of this.#balance.orders(this.#nowMs)) {
      logger.info({ ...order }, "a shard moves for balance");
      this.order(order);
    }
  }

  /** The token is kept while there is something to do. */
  #want(): void {
    const wanted = hasWork(this.#state) || this.#balance.isWanted;
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    this.#cluster.pulse?.wantToken(wanted);
  }

  #perform(effect: ManagerEffect): void {
    switch (effect.kind) {
      case "seal":
        return this.#seal(effect);
      case "handOver":
        return this.#handOver(effect);
      case "ask":
        return this.#ask(effect);
      case "graft":
        return this.#graft(effect);
      case "write":
        return this.#writes.write(effect.plan, effect.ifEpoch);
      case "push":
        return this.#push(effect);
      case "alarm":
        return this.alarms.happened(effect.why, effect.shard, effect.node);
      default:
        return unreachable(effect);
    }
  }

  #seal({ shard, epoch, to, evenIfHeard }: EffectOf<"seal">): void {
    const head = encodeSealRequest({ shard, epoch, at: to, evenIfHeard });
    this.#call(to.node, failoverMethods.seal, head, sealMs, (reply) => {
      const { linked, answer } = decodeLinked(reply.head, decodeSealAnswer);
      return { kind: "sealAnswer", shard, from: to, linked, answer, nowMs: this.#nowMs };
    });
  }

  #handOver({ shard, epoch, from }: EffectOf<"handOver">): void {
    const head = encodeShardAt({ shard, epoch, at: from });
    this.#call(from.node, failoverMethods.handOver, head, handOverMs, (reply) => {
      const position = decodePosition(reply.head);
      return { kind: "handOverAnswer", shard, epoch, from, position, nowMs: this.#nowMs };
    });
  }

  #ask({ shard, epoch, to }: EffectOf<"ask">): void {
    const head = encodeShardAt({ shard, epoch, at: to });
    this.#call(to.node, failoverMethods.ask, head, sealMs, (reply) => {
      const { linked, answer: position } = decodeLinked(reply.head, decodePosition);
      return { kind: "askAnswer", shard, epoch, from: to, linked, position, nowMs: this.#nowMs };
    });
  }

  #graft({ shard, epoch, to, from, throughLsn, throughHash }: EffectOf<"graft">): void {
    const head = encodeGraftRequest({ shard, epoch, at: to, from, throughLsn, throughHash });
    this.#call(to.node, failoverMethods.graft, head, graftMs, (reply) => {
      const position = decodePosition(reply.head);
      return { kind: "graftAnswer", shard, epoch, from: to, position, nowMs: this.#nowMs };
    });
  }

  /** A call that fails is no answer: the machine asks again. */
  #call(
    node: MemberId,
    method: string,
    head: unknown,
    deadlineMs: number,
    toEvent: (reply: RpcReply) => ManagerEvent,
  ): void {
    const { links, options } = this.#cluster;
    const { signal } = new AbortController();
    links
      .peer(node)
      .call(method, head, { signal, deadlineMs })
      .then((reply) => this.step(toEvent(reply)))
      .catch((error: unknown) => {
        if (!isMailError(error)) throw error;
        options.logger.debug({ err: error, node, method }, "no answer to the manager");
      });
  }

  /** To the members concerned, and to gateways, which route by it. */
  #push({ config, to }: EffectOf<"push">): void {
    const { links, members, options } = this.#cluster;
    options.logger.info(facts(config), "shard table changed");
    const head = encodeTable([config]);
    const gateways = members
      .all()
      .flatMap(({ member, role }) => (role === "gateway" ? [member] : []));
    for (const member of new Set([...to, ...gateways])) {
      if (member !== options.member) links.peer(member).send(failoverMethods.table, head);
    }
  }

  get #nowMs(): number {
    return this.#cluster.options.clock.monotonicMs();
  }
}

function facts({ shard, epoch, primary, secondaries }: ShardConfig) {
  return {
    shard,
    epoch,
    primary: primary.node,
    secondaries: secondaries.map(({ node, full }) => (full ? node : `${node} (filling)`)),
  };
}
