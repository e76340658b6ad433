// The short form of the chaos scenarios (`npm run chaos` runs them for minutes): about ten seconds of
// faults each, under load, with every promise judged; times have room for a busy machine.

import { expect, test } from "vitest";
import { runScenario } from "../support/chaos-run.ts";
import { scenarioByName } from "../chaos/scenarios.ts";

const seed = Number(process.env["PABAL_TEST_SEED"] ?? Date.now() % 1_000_000);
const roomForLoad = 4;

test.each(["F1", "F2", "F3", "F8", "F16"])(
  "%s, ten seconds",
  async (name) => {
    const scenario = scenarioByName(name);
    if (scenario === undefined) throw new Error(`no ${name}`);
    const { unavailableP99Ms, unavailableMaxMs } = scenario.limits;
    const { figures, wrong } = await runScenario(
      {
        ...scenario,
        limits: {
          ...scenario.limits,
          unavailableP99Ms: unavailableP99Ms * roomForLoad,
          unavailableMaxMs: unavailableMaxMs * roomForLoad,
        },
      },
      {
        seconds: 10,
        nodes: 4,
        gateways: 2,
        users: 12,
        senders: 12,
        readers: 12,
        messagesPerSecond: 30,
        seed,
        coordinator: "embedded",
        say: () => undefined,
      },
    );
    process.stdout.write(`chaos: ${figures}\n`);
    expect(wrong).toEqual([]);
  },
  180_000,
);
