// `npm run chaos -- F1 --minutes 5 [--nodes 4] [--gateways 2] [--users 50] [--seed N] [--coordinator
// embedded|etcd]`: one fault scenario against a cluster of real processes, ended by a line of figures.
// Exit status 1 when something that must hold did not. PABAL_KEEP=1 keeps the folder of a failed run.

import { parseArgs } from "node:util";
import { runScenario } from "../support/chaos-run.ts";
import { scenarioByName, scenarios } from "./scenarios.ts";

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
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    coordinator: { type: "string", default: "embedded" },
  },
});
const scenario = scenarioByName(positionals[0] ?? "");
const { coordinator } = values;
if (scenario === undefined || (coordinator !== "embedded" && coordinator !== "etcd")) {
  const known = scenarios.map(({ name, about }) => `  ${name}  ${about}`).join("\n");
  process.stderr.write(`npm run chaos -- SCENARIO [--minutes 5] …\n${known}\n`);
  process.exit(64);
}
const seconds = Number(values.minutes) * 60;
// Every wait has a limit of its own; this one is for what nobody thought of.
setTimeout(
  () => {
    process.stderr.write("the run takes too long and is given up\n");
    process.exit(1);
  },
  seconds * 1000 + 600_000,
).unref();
const startedMs = performance.now();
const { figures, wrong } = await runScenario(scenario, {
  seconds,
  nodes: Number(values.nodes),
  gateways: Number(values.gateways),
  users: Number(values.users),
  senders: Number(values.senders),
  readers: Number(values.readers),
  messagesPerSecond: Number(values.rate),
  seed: Number(values.seed),
  coordinator,
  say: (line) => {
    process.stdout.write(`${((performance.now() - startedMs) / 1000).toFixed(1)} s: ${line}\n`);
  },
});
for (const line of wrong.slice(0, 40)) process.stdout.write(`${line}\n`);
process.stdout.write(`${figures}\n`);
process.exit(wrong.length === 0 ? 0 : 1);
