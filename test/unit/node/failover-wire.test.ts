// What managers and members say to each other comes over as it was said, and nothing malformed does.

import fc from "fast-check";
import { expect, test } from "vitest";
import {
  decodeGraftRequest,
  decodeLinked,
  decodePosition,
  decodeReports,
  decodeSealAnswer,
  decodeSealRequest,
  decodeShardAt,
  decodeTable,
  encodeGraftRequest,
  encodeLinked,
  encodePosition,
  encodeReports,
  encodeSealAnswer,
  encodeSealRequest,
  encodeShardAt,
  encodeTable,
} from "../../../src/cluster/node/failover-wire.ts";
import type { SealAnswer, ShardReport } from "../../../src/cluster/protocol/manager-types.ts";
import type { Copy, ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { packValue, unpackValue } from "../../../src/cluster/link/wire-value.ts";
import { isMailError } from "../../../src/mail/errors.ts";
import { epoch, lsn, memberId, shardId, storeId } from "../../../src/mail/ids.ts";

const copy = (node: string, digit: string): Copy => ({
  node: memberId(node),
  store: storeId(digit.repeat(32)),
});
const [n1, n2] = [copy("n1", "1"), copy("n2", "2")];
const base = { shard: shardId(7), epoch: epoch(3) };
const position = { lastLsn: lsn(12), lastHash: 99, commitMark: lsn(10), markHash: 4_294_967_295 };
const config: ShardConfig = {
  ...base,
  primary: n1,
  secondaries: [{ ...n2, full: true }],
  minCopies: 2,
  nonce: "x",
};

function travel(value: unknown): unknown {
  return unpackValue(packValue(value));
}

test("requests travel whole", () => {
  const at = { ...base, at: n1 };
  expect(decodeShardAt(travel(encodeShardAt(at)))).toEqual(at);
  const seal = { ...at, evenIfHeard: true };
  expect(decodeSealRequest(travel(encodeSealRequest(seal)))).toEqual(seal);
  const graft = { ...at, from: n2, throughLsn: lsn(9), throughHash: 5 };
  expect(decodeGraftRequest(travel(encodeGraftRequest(graft)))).toEqual(graft);
});

test("answers travel whole, with whom the member reaches", () => {
  const answers: readonly SealAnswer[] = [
    { kind: "sealed", epoch: epoch(3), full: true, ...position },
    { kind: "sealed", epoch: epoch(3), full: false, logEpoch: epoch(2), tail: null, ...position },
    {
      kind: "sealed",
      epoch: epoch(3),
      full: false,
      tail: { fromLsn: lsn(2), anchorHash: 3, lastLsn: lsn(4), lastHash: 5 },
      ...position,
    },
    { kind: "heard" },
    { kind: "newer", config },
    { kind: "unusable" },
  ];
  for (const answer of answers) {
    const said = encodeLinked({ linked: [n1.node, n2.node], answer: encodeSealAnswer(answer) });
    expect(decodeLinked(travel(said), decodeSealAnswer)).toEqual({ linked: ["n1", "n2"], answer });
  }
  expect(decodePosition(travel(encodePosition(position)))).toEqual(position);
  expect(decodePosition(travel(encodePosition(undefined)))).toBeUndefined();
});

test("reports of every kind travel whole", () => {
  const reports: readonly ShardReport[] = [
    {
      kind: "removeSecondary",
      ...base,
      secondary: n2,
      commitMark: lsn(1),
      markHash: 2,
      settled: true,
    },
    { kind: "primarySilent", ...base },
    { kind: "synced", ...base, secondary: n2 },
    { kind: "sealed", ...base, ...position },
    { kind: "handedOver", ...base, ...position },
    { kind: "unusable", ...base },
  ];
  const state = { degraded: true, recovering: true, stopping: true };
  const frame = { from: n1, linked: [n2.node], reports, ...state };
  expect(decodeReports(travel(encodeReports(frame)))).toEqual(frame);
});

test("values of the table travel whole", () => {
  expect(decodeTable(travel(encodeTable([config])))).toEqual([config]);
});

test("whatever else comes is refused as malformed", () => {
  const decoders = [
    decodeShardAt,
    decodeSealRequest,
    decodeGraftRequest,
    decodePosition,
    decodeSealAnswer,
    decodeReports,
    decodeTable,
  ];
  const anything = fc.anything({ maxDepth: 3 });
  fc.assert(
    fc.property(anything, (value) => {
      for (const decode of decoders) {
        try {
          decode(value);
        } catch (error) {
          expect(isMailError(error, "INVALID")).toBe(true);
        }
      }
    }),
  );
});
