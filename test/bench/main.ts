// `npm run bench [-- --peers] [--smoke] [--write] [--tls]`: measures Pabal and, with --peers, Dovecot and
// Postfix in the same run on the same machine. --write puts the table into docs/benchmarks.md. With
// --groups it measures announcements alone, and with --million, too, to a group of a million members;
// with --mailboxes large mailboxes alone. --only PATTERN runs the figures whose name matches.

import { cpus, release, totalmem } from "node:os";
import { readFileSync, writeFileSync } from "node:fs";
import { benchGroups } from "./announce.ts";
import { benchMailboxes } from "./mailboxes.ts";
import { startPeers } from "./peers.ts";
import { type Figure, markdownTable } from "./report.ts";
import { runScenarios } from "./scenarios.ts";
import type { BenchSize } from "./size.ts";
import { startPabal, type Target } from "./target.ts";

const flags = new Set(process.argv.slice(2));
const only = new RegExp(process.argv[process.argv.indexOf("--only", 2) + 1 || -1] ?? "", "i");
const size: BenchSize = flags.has("--smoke")
  ? { seconds: 2, messages: 500, idle: 0, brief: true, only }
  : { seconds: 6, messages: 10_000, idle: 10_000, brief: false, only };

// Every wait has a limit of its own; this one is for what nobody thought of.
setTimeout(
  () => {
    process.stderr.write("the benchmark takes too long and is given up\n");
    process.exit(1);
  },
  (flags.has("--million") ? 7200 : flags.has("--groups") || flags.has("--mailboxes") ? 3600 : 900) *
    1000,
).unref();

const tablesOfTheirOwn = { mailboxes: benchMailboxes, groups: benchGroups };
for (const [name, bench] of Object.entries(tablesOfTheirOwn)) {
  if (!flags.has(`--${name}`)) continue;
  const table = await bench({
    brief: flags.has("--smoke"),
    peers: flags.has("--peers"),
    million: flags.has("--million"),
  });
  process.stdout.write(`\n${table}\n`);
  if (flags.has("--write")) writeTable(table, `measured ${name}`);
  process.exit(0);
}

const columns: { name: string; figures: readonly Figure[] }[] = [];
const starts: (() => Promise<readonly Target[]>)[] = [
  async () => [
    await startPabal({
      gateways: 1,
      nodes: 2,
      users: 100,
      // Everything is on loopback here, and no peer encrypts either: --tls measures with mutual TLS.
      set: [
        "limits.sessionsPerUser=1000",
        ...(flags.has("--tls") ? [] : ['cluster.link={"plaintext":true}']),
      ],
    }),
  ],
  ...(flags.has("--peers") ? [() => startPeers()] : []),
];
for (const start of starts) {
  const targets = await start();
  let running = targets.length;
  for (const target of targets) {
    process.stdout.write(`\n${target.name}\n`);
    try {
      // A peer with a process per connection holds fewer: the figure is per connection.
      const idle = target.name === "Pabal" ? size.idle : Math.min(size.idle, 500);
      const figures = await runScenarios(target, { ...size, idle }, (figure) => {
        process.stdout.write(
          `  ${figure.scenario}: ${figure.value.toFixed(3)} ${figure.unit}${figure.cpuMsPerOp === undefined ? "" : `, ${figure.cpuMsPerOp.toFixed(3)} ms CPU`}${figure.note === undefined ? "" : ` (${figure.note})`}\n`,
        );
      });
      columns.push({ name: target.name, figures });
      running -= 1;
      await target.stop();
    } catch (error) {
      for (const left of targets.slice(targets.length - running)) await left.stop();
      throw error;
    }
  }
}
const table = markdownTable(columns);
process.stdout.write(`\n${table}\n`);
if (flags.has("--write")) writeTable(table, "measured");
process.exit(0);

function writeTable(text: string, section: string): void {
  const file = new URL("../../docs/benchmarks.md", import.meta.url);
  const [begin, end] = [`<!-- ${section} -->`, `<!-- /${section} -->`];
  const old = readFileSync(file, "utf8");
  const machine = `${cpus().length} cores (${cpus()[0]?.model ?? "?"}), ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()}, Node.js ${process.version}, ${new Date().toISOString().slice(0, 10)}`;
  const made = `${begin}\n${machine}\n\n${text}\n${end}`;
  writeFileSync(
    file,
    old.slice(0, old.indexOf(begin)) + made + old.slice(old.indexOf(end) + end.length),
  );
}
