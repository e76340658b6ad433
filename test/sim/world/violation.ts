// What a run that broke an invariant ends with, and how a shard's members are written in traces.

import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";

export class InvariantViolation extends Error {
  override readonly name = "InvariantViolation";
  readonly invariant: string;

  constructor(invariant: string, what: string) {
    super(`${invariant}: ${what}`);
    this.invariant = invariant;
  }
}

export function describe(config: ShardConfig): string {
  const { shard, epoch, primary, secondaries, former = [] } = config;
  const members = secondaries.map(
    ({ node, full, fromLsn }) => `${node}${full ? "" : `(${fromLsn}…)`}`,
  );
  const gone = former.length === 0 ? "" : ` former ${former.map(({ node }) => node).join()}`;
  return `shard ${shard} epoch ${epoch}: ${primary.node} + ${members.join(", ") || "nobody"}${gone}`;
}
