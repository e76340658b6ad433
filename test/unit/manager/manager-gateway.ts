// A manager machine for tests: one shard of three nodes, told things and asked what it wants done.

import { makeManager } from "../../../src/cluster/protocol/manager-state.ts";
import type { ManagerState } from "../../../src/cluster/protocol/manager-state.ts";
import { stepManager } from "../../../src/cluster/protocol/manager.ts";
import type {
  ManagerEffect,
  ManagerEvent,
  MailNode,
  SealedTail,
  ShardReport,
} from "../../../src/cluster/protocol/manager-types.ts";
import type {
  Copy,
  SecondaryCopy,
  ShardConfig,
} from "../../../src/cluster/protocol/shard-config.ts";
import { epoch, lsn, memberId, shardId, storeId } from "../../../src/mail/ids.ts";

type Facts = Partial<Omit<MailNode, "node">>;
type Untimed<E> = E extends ManagerEvent ? Omit<E, "nowMs"> : never;
export type Told = Untimed<ManagerEvent>;

export const shard = shardId(0);
export const g1 = memberId("g1");
export const g2 = memberId("g2");
export const position = { lastLsn: lsn(9), lastHash: 99, commitMark: lsn(7), markHash: 77 };

export const copy = (name: string, store = `${name}-store`): Copy => ({
  node: memberId(name),
  store: storeId(store),
});
export const full = (name: string): SecondaryCopy => ({ ...copy(name), full: true });
export const tail = (name: string): SecondaryCopy => ({
  ...copy(name),
  full: false,
  fromLsn: lsn(5),
  anchorHash: 44,
});

/** What `tail` has by now. */
const keptTail: SealedTail = { fromLsn: lsn(5), anchorHash: 44, lastLsn: lsn(9), lastHash: 99 };

/** One gateway that acts, and what it wants done. */
export class Gateway {
  readonly state: ManagerState = makeManager(g1);
  nowMs = 1000;

  constructor(config: Partial<ShardConfig> = {}, nodes: Readonly<Record<string, Facts>> = {}) {
    this.members(nodes);
    this.tell({ kind: "acting", acting: true });
    this.table({ ...base, ...config });
  }

  /** Three nodes, and what is special about them. */
  members(nodes: Readonly<Record<string, Facts>>): readonly ManagerEffect[] {
    const members = Object.entries({ n1: {}, n2: {}, n3: {}, ...nodes }).map(([name, facts]) =>
      Object.assign(factsOf(name), facts),
    );
    return this.tell({ kind: "members", members });
  }

  tell(event: Told): readonly ManagerEffect[] {
    const out: ManagerEffect[] = [];
    stepManager(this.state, { ...event, nowMs: this.nowMs }, out);
    return out;
  }

  table(config: ShardConfig): readonly ManagerEffect[] {
    return this.tell({ kind: "table", config });
  }

  after(ms: number): readonly ManagerEffect[] {
    this.nowMs += ms;
    return this.tell({ kind: "tick" });
  }

  /** `logEpoch`: of the last entry of its own log. */
  sealed(
    name: string,
    isFull = true,
    logEpoch = 0,
    kept: SealedTail | null = keptTail,
  ): readonly ManagerEffect[] {
    const own = { full: isFull, logEpoch: epoch(logEpoch), tail: kept };
    const answer = { kind: "sealed", epoch: epoch(3), ...own, ...position } as const;
    const linked = [memberId("n1"), memberId("n2"), memberId("n3")];
    return this.tell({ kind: "sealAnswer", shard, from: copy(name), linked, answer });
  }

  report(name: string, report: ShardReport, linked: readonly string[] = []) {
    return this.tell({
      kind: "report",
      from: copy(name),
      linked: linked.map(memberId),
      reports: [report],
    });
  }
}

export const base: ShardConfig = {
  shard,
  epoch: epoch(3),
  primary: copy("n1"),
  secondaries: [full("n2")],
  minCopies: 2,
  nonce: "a",
};

function factsOf(name: string): MailNode {
  const failureDomain = name;
  const { node, store } = copy(name);
  const idle = { incarnation: 1, draining: false, degraded: false, load: 0 };
  return { node, store, failureDomain, ...idle };
}

export function written(effects: readonly ManagerEffect[]) {
  return effects.find((effect) => effect.kind === "write")?.plan;
}
