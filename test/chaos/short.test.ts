// The short form of the chaos scenarios (`npm run chaos` runs them for minutes): about ten seconds of
// faults each, under load, some on one cluster, with every promise judged; times have room for a busy
// machine. F5, F11, F13 and F17 are tests of their own, F15 comes with moves of users.

import { expect, test } from "vitest";
import { runScenarios } from "../support/chaos-run.ts";
import { tellFigures } from "../support/figures.ts";
import { expectKept } from "../support/kept.ts";
import { scenarioByName } from "./scenarios.ts";

const seed = Number(process.env["PABAL_TEST_SEED"] ?? Date.now() % 1_000_000);

test.for([
  { names: ["F1", "F2", "F3", "F4", "F8", "F16"], coordinator: "embedded" },
  { names: ["F6", "F7", "F18", "F9"], coordinator: "embedded" },
  { names: ["F12", "F10", "F14"], coordinator: "embedded" },
  { names: ["F1", "F3", "F6"], coordinator: "etcd" },
] as const)(
  "$names, ten seconds each, on $coordinator",
  { timeout: 420_000 },
  async ({ names, coordinator }, context) => {
    const reports = await runScenarios(names.map(scenarioByName), {
      seconds: 10,
      nodes: 4,
      gateways: 2,
      users: 12,
      senders: 12,
      readers: 24,
      messagesPerSecond: 30,
      roomForLoad: 6,
      seed,
      coordinator,
      say: () => undefined,
    });
    for (const { figures } of reports) tellFigures(figures);
    expectKept(
      context,
      reports.flatMap(({ broken }) => broken),
    );
    expect(reports.flatMap(({ late }) => late)).toEqual([]);
  },
);
