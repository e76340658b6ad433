// What operators are told of the cluster: alarms that hold, changes of the table, how far copies are.

import { pino } from "pino";
import { beforeEach, describe, expect, test } from "vitest";
import { AlarmBoard } from "../../../src/cluster/node/alarm-board.ts";
import { estimateMs } from "../../../src/cluster/node/copy-watch.ts";
import { TableNews } from "../../../src/cluster/node/table-news.ts";
import type { Copy, ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import { epoch, lsn, memberId, shardId, storeId } from "../../../src/mail/ids.ts";

const shard = shardId(3);
const copy = (node: string): Copy => ({ node: memberId(node), store: storeId(`${node}-store`) });

describe("the alarm board", () => {
  let lines: { msg: string; why: string; shards?: number[] }[] = [];
  let board: AlarmBoard;
  const stuck = new Map([["noPromotableCopy", [shard, shardId(4)]]] as const);

  beforeEach(() => {
    lines = [];
    const write = (line: string): void => {
      lines.push(JSON.parse(line) as (typeof lines)[number]);
    };
    board = new AlarmBoard(pino({ level: "info" }, { write }));
  });

  test("says nothing of what is over before long", () => {
    board.update(stuck, 0);
    board.update(stuck, 2900);
    board.update(new Map(), 3000);
    board.update(stuck, 3100);
    expect(board.raised(5000)).toEqual([]);
    expect(lines).toEqual([]);
    expect(board.counts.size).toBe(0);
  });

  test("raises once for all shards, and says when it is over", () => {
    for (let nowMs = 0; nowMs <= 10_000; nowMs += 500) board.update(stuck, nowMs);
    expect(board.raised(10_000)).toEqual([
      { why: "noPromotableCopy", shards: [3, 4], forMs: 10_000 },
    ]);
    expect(lines).toMatchObject([{ why: "noPromotableCopy", shards: [3, 4] }]);
    board.update(new Map(), 11_000);
    expect(board.raised(11_000)).toEqual([]);
    expect(lines.at(-1)).toMatchObject({ msg: "alarm is over", why: "noPromotableCopy" });
    expect(board.counts.get("noPromotableCopy")).toBe(1);
  });

  test("tells what happened as it comes", () => {
    board.happened("orderRefused", shard, undefined);
    board.happened("orderRefused", shard, undefined);
    expect(lines).toHaveLength(2);
    expect(board.counts.get("orderRefused")).toBe(2);
  });
});

describe("news of the table", () => {
  const first: ShardConfig = {
    shard,
    epoch: epoch(1),
    primary: copy("n1"),
    secondaries: [{ ...copy("n2"), full: true }],
    minCopies: 2,
    nonce: "",
  };
  const filling = { ...copy("n3"), full: false, fromLsn: lsn(4) };
  const promoted: ShardConfig = {
    ...first,
    epoch: epoch(2),
    primary: copy("n2"),
    secondaries: [filling],
  };

  test("counts a failover once, and the copy that became whole", () => {
    const news = new TableNews();
    news.note(first, 10);
    news.note(promoted, 20);
    news.note(promoted, 30);
    news.note(first, 40);
    news.note({ ...promoted, epoch: epoch(3), secondaries: [{ ...copy("n3"), full: true }] }, 50);
    expect(news.counts).toEqual({ failovers: 1, handovers: 0, copiesRemoved: 0, copiesWhole: 1 });
    expect(news.lastFailoverMs).toBe(20);
  });

  test("tells a handover from a failover, and counts whole copies that left", () => {
    const news = new TableNews();
    news.note(first, 10);
    const swapped = { ...promoted, secondaries: [{ ...copy("n1"), full: true }] };
    news.note({ ...swapped, endedEpoch: epoch(1) }, 20);
    news.note({ ...promoted, epoch: epoch(3) }, 30);
    news.note({ ...promoted, epoch: epoch(4), secondaries: [] }, 40);
    expect(news.counts).toEqual({ failovers: 0, handovers: 1, copiesRemoved: 1, copiesWhole: 0 });
    expect(news.lastFailoverMs).toBeUndefined();
  });
});

describe("the time until all is safe", () => {
  const running = (doneBytes: number, ofBytes: number) => ({ shard, doneBytes, ofBytes });

  test("is that of the slowest node, waiting copies counted as large as those that run", () => {
    const slow = { running: [running(1000, 3000)], waiting: 2, bytesIn: 0, bytesPerSecond: 1000 };
    const quick = { running: [running(0, 4000)], waiting: 0, bytesIn: 0, bytesPerSecond: 1000 };
    expect(estimateMs([slow, quick])).toBe(8000);
    expect(estimateMs([quick])).toBe(4000);
  });

  test("can't be said before bytes came, or when nothing is copied", () => {
    const still = { running: [running(0, 10)], waiting: 0, bytesIn: 0, bytesPerSecond: 0 };
    expect(estimateMs([still])).toBeUndefined();
    expect(estimateMs([])).toBeUndefined();
    expect(
      estimateMs([{ running: [], waiting: 0, bytesIn: 9, bytesPerSecond: 5 }]),
    ).toBeUndefined();
  });
});
