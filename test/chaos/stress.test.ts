// The short form of the stress test (`npm run stress` runs it for minutes): random IMAP clients on two
// gateways, each with its model, and a node that dies.

import { expect, test } from "vitest";
import { tellFigures } from "../support/figures.ts";
import { expectKept } from "../support/kept.ts";
import { runStress } from "../stress/run.ts";

const seed = Number(process.env["PABAL_TEST_SEED"] ?? Date.now() % 1_000_000);

test("twelve clients see no contradiction, on two gateways, while a node dies", {
  timeout: 240_000,
}, async (context) => {
  const told: string[] = [];
  const { violations, figures, kills, commands } = await runStress({
    seconds: 20,
    clients: 12,
    gateways: 2,
    nodes: 3,
    kill: true,
    seed,
    roundSeconds: 10,
    pauseMs: 60,
    say: (line) => told.push(line),
  });
  tellFigures(figures);
  expectKept(context, violations, told.join("\n"));
  expect(kills).toBeGreaterThan(0);
  expect(commands).toBeGreaterThan(100);
});
