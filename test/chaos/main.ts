// `npm run chaos -- F1 --minutes 5 [--nodes 4] [--gateways 2] [--users 50] [--seed N] [--coordinator
// embedded|etcd] [--room 1]`: one fault scenario against a cluster of real processes, ended by a line of
// figures; `all` runs them one after the other. Exit status 1 when something that must hold did not.
// `--room 4` allows times four times as long, for a busy machine; `--set log.level=info` goes to all
// members. PABAL_KEEP=1 keeps a failed run's folder.

import { parseArgs } from "node:util";
import type { ChaosReport } from "../support/chaos-report.ts";
import { runScenarios } from "../support/chaos-run.ts";
import { runTest, testScenarios } from "./by-test.ts";
import { scenarios } from "./scenarios.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string", default: "5" },
    nodes: { type: "string", default: "4" },
    gateways: { type: "string", default: "2" },
    users: { type: "string", default: "50" },
    senders: { type: "string", default: "50" },
    readers: { type: "string", default: "50" },
    rate: { type: "string", default: "50" },
    room: { type: "string", default: "1" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    coordinator: { type: "string", default: "embedded" },
    set: { type: "string", multiple: true, default: [] },
  },
});
const known = [...scenarios, ...testScenarios].toSorted(
  (a, b) => Number(a.name.slice(1)) - Number(b.name.slice(1)),
);
const asked = positionals[0]?.toUpperCase() ?? "";
const chosen = asked === "ALL" ? known : known.filter(({ name }) => name === asked);
const { coordinator } = values;
if (chosen.length === 0 || (coordinator !== "embedded" && coordinator !== "etcd")) {
  const list = known.map(({ name, about }) => `  ${name.padEnd(4)} ${about}`).join("\n");
  process.stderr.write(`npm run chaos -- SCENARIO|all [--minutes 5] …\n${list}\n`);
  process.exit(64);
}
const seconds = Number(values.minutes) * 60;
// Every wait has a limit of its own; this one is for what nobody thought of.
setTimeout(
  () => {
    process.stderr.write("the run takes too long and is given up\n");
    process.exit(1);
  },
  (seconds * 1000 + 900_000) * chosen.length,
).unref();
const startedMs = performance.now();
const say = (line: string): void => {
  process.stdout.write(`${((performance.now() - startedMs) / 1000).toFixed(1)} s: ${line}\n`);
};
const closing: string[] = [];
let failed = false;
for (const scenario of chosen) {
  if (chosen.length > 1) say(`== ${scenario.name}: ${scenario.about}`);
  const { figures, broken, late } = await run(scenario).catch(
    (error: unknown): ChaosReport => ({
      figures: `${scenario.name} did not end: FAILED`,
      broken: [error instanceof Error ? (error.stack ?? error.message) : String(error)],
      late: [],
    }),
  );
  for (const line of broken.slice(0, 40)) process.stdout.write(`BROKEN ${line}\n`);
  for (const line of late.slice(0, 40)) process.stdout.write(`LATE ${line}\n`);
  if (chosen.length > 1) process.stdout.write(`${figures}\n`);
  closing.push(figures);
  failed ||= broken.length + late.length > 0;
}
process.stdout.write(`${closing.join("\n")}\n`);
process.exit(failed ? 1 : 0);

async function run(scenario: (typeof known)[number]): Promise<ChaosReport> {
  if ("files" in scenario) return runTest(scenario, say);
  const [report] = await runScenarios([scenario], {
    seconds,
    nodes: Number(values.nodes),
    gateways: Number(values.gateways),
    users: Number(values.users),
    senders: Number(values.senders),
    readers: Number(values.readers),
    messagesPerSecond: Number(values.rate),
    roomForLoad: Number(values.room),
    seed: Number(values.seed),
    coordinator: coordinator === "etcd" ? "etcd" : "embedded",
    set: values.set,
    say,
  });
  if (report === undefined) throw new Error("a run has a report");
  return report;
}
