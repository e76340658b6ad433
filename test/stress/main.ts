// `npm run stress -- [--minutes 5] [--clients 36] [--gateways 2] [--nodes 3] [--kill] [--seed N] [--pause 100]
// [--round 15]`: random IMAP clients against a cluster of real processes, each with a model that judges
// every response (docs/stress.md). Ends in one line of figures; exit status 1 at any violation.

import { parseArgs } from "node:util";
import { runStress } from "./run.ts";

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "5" },
    clients: { type: "string", default: "36" },
    gateways: { type: "string", default: "2" },
    nodes: { type: "string", default: "3" },
    kill: { type: "boolean", default: false },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    /** Mean pause of a client between two commands, ms. */
    pause: { type: "string", default: "100" },
    /** From one look at everything to the next, s. */
    round: { type: "string", default: "15" },
  },
});
const seconds = Number(values.minutes) * 60;
// Every wait has a limit of its own; this one is for what nobody thought of.
setTimeout(
  () => {
    process.stderr.write("the run takes too long and is given up\n");
    process.exit(1);
  },
  seconds * 2000 + 900_000,
).unref();
const startedMs = performance.now();
const report = await runStress({
  seconds,
  clients: Number(values.clients),
  gateways: Number(values.gateways),
  nodes: Number(values.nodes),
  kill: values.kill,
  seed: Number(values.seed),
  roundSeconds: Number(values.round),
  pauseMs: Number(values.pause),
  say: (line) =>
    process.stdout.write(`${((performance.now() - startedMs) / 1000).toFixed(1)} s: ${line}\n`),
});
process.stdout.write(`${report.figures}\n`);
process.exit(report.violations.length === 0 ? 0 : 1);
