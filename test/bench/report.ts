// How figures are kept and shown: one row a scenario, Pabal and peers side by side, as Markdown.

export interface Figure {
  readonly scenario: string;
  /** What is better: more or less. */
  readonly unit: string;
  readonly value: number;
  /** CPU milliseconds of all server processes per operation. */
  readonly cpuMsPerOp?: number;
  readonly note?: string;
}

/** One column per target, in the order measured. */
export function markdownTable(
  columns: readonly { readonly name: string; readonly figures: readonly Figure[] }[],
): string {
  const scenarios = [
    ...new Set(columns.flatMap(({ figures }) => figures.map(({ scenario }) => scenario))),
  ];
  const head = `| what | ${columns.map(({ name }) => name).join(" | ")} |\n|---|${columns.map(() => "---|").join("")}`;
  const rows = scenarios.map((scenario) => {
    const cells = columns.map(({ figures }) =>
      cell(figures.find((figure) => figure.scenario === scenario)),
    );
    return `| ${scenario} | ${cells.join(" | ")} |`;
  });
  return [head, ...rows].join("\n");
}

function cell(figure: Figure | undefined): string {
  if (figure === undefined) return "–";
  const cpu = figure.cpuMsPerOp === undefined ? "" : `, ${round(figure.cpuMsPerOp)} ms CPU`;
  return `${round(figure.value)} ${figure.unit}${cpu}${figure.note === undefined ? "" : ` (${figure.note})`}`;
}

function round(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(3);
}

/** The p-th quantile (0…1) of ascending values. */
export function quantile(sorted: Float64Array, p: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? 0;
}

export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}
