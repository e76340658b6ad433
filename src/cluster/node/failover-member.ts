// The node's side of failover: answers what managers ask of its copies, takes new configurations as
// they are pushed, and reports to every gateway what its copies wish. What to answer is decided in
// protocol/replica*.ts, behind FailoverTarget.

import type { Clock, Timer } from "../../lib/clock.ts";
import { MailError } from "../../mail/errors.ts";
import type { Epoch, MemberId, ShardId } from "../../mail/ids.ts";
import type { Links, RpcReply, RpcRegistry } from "../link/rpc.ts";
import type { SealAnswer } from "../protocol/manager-types.ts";
import { sameCopy } from "../protocol/shard-config.ts";
import type { Copy, ShardConfig } from "../protocol/shard-config.ts";
import type { FailoverTarget } from "./failover-target.ts";
import {
  decodeGraftRequest,
  decodeSealRequest,
  decodeShardAt,
  decodeTable,
  encodeLinked,
  encodePosition,
  encodeReports,
  encodeSealAnswer,
  failoverMethods,
} from "./failover-wire.ts";
import type { ShardAt } from "./failover-wire.ts";

export interface FailoverMemberOptions {
  readonly me: Copy;
  readonly target: FailoverTarget;
  readonly links: Links;
  /** Takes committed values of the table that are newer than what is known. */
  readonly learn: (config: ShardConfig) => void;
  readonly clock: Clock;
  readonly gateways: () => readonly MemberId[];
  /** The other nodes. */
  readonly nodes: () => readonly MemberId[];
  /** This node wants to be relieved of its primaries. */
  readonly degraded: () => boolean;
  /** What made it so is over, if only just. Default never. */
  readonly recovering?: () => boolean;
  /** Its process is about to end. Default never. */
  readonly stopping?: () => boolean;
}

const reportEveryMs = 200;
/** While a request waits for a shard to be served, this node looks so often. */
const lookEveryMs = 5;
/** A gateway that waits longer asks again. */
const servingWaitMs = 5000;

export class FailoverMember {
  readonly #options: FailoverMemberOptions;
  readonly #stop = new AbortController();
  #timer: Timer | undefined;
  #soon = false;
  #started = false;

  constructor(options: FailoverMemberOptions) {
    this.#options = options;
    options.target.onReport = () => this.reportSoon();
  }

  /** Call before links are accepted. */
  register(registry: RpcRegistry): void {
    const { target } = this.#options;
    registry.onCall(failoverMethods.seal, async ({ head }) => {
      const request = decodeSealRequest(head);
      const answer: SealAnswer = this.#isMine(request)
        ? await target.seal(request.shard, request.epoch, request.evenIfHeard)
        : { kind: "unusable" };
      return this.#answer(encodeSealAnswer(answer));
    });
    registry.onCall(failoverMethods.handOver, async ({ head }) => {
      const { shard, epoch } = this.#checked(decodeShardAt(head));
      return { head: encodePosition(await target.handOver(shard, epoch)) };
    });
    registry.onCall(failoverMethods.ask, ({ head }) => {
      const { shard, epoch } = this.#checked(decodeShardAt(head));
      return this.#answer(encodePosition(target.position(shard, epoch)));
    });
    registry.onCall(failoverMethods.graft, async ({ head }) => {
      const request = decodeGraftRequest(head);
      const { shard, epoch } = this.#checked(request);
      const { from, throughLsn, throughHash } = request;
      const position = await target.graft(shard, epoch, from, throughLsn, throughHash);
      return { head: encodePosition(position) };
    });
    registry.onSend(failoverMethods.table, ({ head }) => {
      for (const config of decodeTable(head)) this.#options.learn(config);
    });
    registry.onSend(failoverMethods.leaving, ({ from }) => target.memberLeaves(from));
    registry.onCall(failoverMethods.serving, ({ head, signal }) =>
      this.#whenServing(decodeShardAt(head), signal),
    );
  }

  /** Reports from now on. */
  start(): void {
    this.#started = true;
    this.#report();
  }

  close(): void {
    this.#stop.abort();
    this.#timer?.cancel();
  }

  /** A wish has come or gone: told at the end of this tick. */
  reportSoon(): void {
    if (this.#soon) return;
    this.#soon = true;
    queueMicrotask(() => {
      this.#soon = false;
      this.#report();
    });
  }

  #report(): void {
    if (!this.#started || this.#stop.signal.aborted) return;
    const { me: from, target, links, clock, gateways } = this.#options;
    const linked = this.#linked();
    this.#timer?.cancel();
    this.#timer = clock.after(reportEveryMs, () => this.#report());
    const reports = target.reports();
    const degraded = this.#options.degraded();
    const stopping = degraded && this.#options.stopping?.() === true;
    const recovering = degraded && this.#options.recovering?.() === true;
    // A gateway that heard a wish forgets it when it isn't repeated: nothing is said of nothing.
    if (reports.length === 0 && !degraded) return;
    const head = encodeReports({ from, linked, reports, degraded, recovering, stopping });
    for (const gateway of gateways()) links.peer(gateway).send(failoverMethods.report, head);
  }

  /** Asking for a link makes one: so every node has links to all others. */
  #linked(): readonly MemberId[] {
    const { nodes, links } = this.#options;
    return nodes().filter((node) => links.peer(node).up);
  }

  #answer(answer: unknown): RpcReply {
    return { head: encodeLinked({ linked: this.#linked(), answer }) };
  }

  /** Answers once this node serves the shard, is not its primary, or a gateway should ask again. */
  async #whenServing({ shard, epoch }: ShardAt, signal: AbortSignal): Promise<RpcReply> {
    const { clock } = this.#options;
    const untilMs = clock.monotonicMs() + servingWaitMs;
    while (this.#mayServe(shard, epoch) && clock.monotonicMs() < untilMs) {
      if (signal.aborted || this.#stop.signal.aborted) break;
      await new Promise<void>((resolve) => {
        clock.after(lookEveryMs, resolve);
      });
    }
    return { head: this.#options.target.answers(shard) };
  }

  /** True while it makes sense to wait for this node to serve the shard. */
  #mayServe(shard: ShardId, epoch: Epoch): boolean {
    const { target, me } = this.#options;
    if (target.answers(shard)) return false;
    const config = target.configOf(shard);
    // One that has not heard of the epoch yet will.
    if (config === undefined || config.epoch < epoch) return true;
    return sameCopy(config.primary, me);
  }

  #isMine({ at }: ShardAt): boolean {
    return sameCopy(at, this.#options.me);
  }

  /** @throws {MailError} WRONG_NODE: another data folder is meant. */
  #checked(request: ShardAt): ShardAt {
    if (this.#isMine(request)) return request;
    throw new MailError({ code: "WRONG_NODE", shard: request.shard });
  }
}
