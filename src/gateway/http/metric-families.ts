// Metrics made of numbers that others count: read when Prometheus asks, so that hot paths only raise
// plain counters. Which metrics there are stands in metrics.ts.

import { Counter, Gauge, Histogram, type Registry } from "prom-client";

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** One metric of figures `F`: a number, or one per combination of labels. Units: seconds and bytes. */
export interface Family<F> {
  readonly name: string;
  readonly help: string;
  readonly kind: "gauge" | "counter";
  readonly labels?: readonly string[];
  readonly read: (figures: F) => number | readonly Sample[] | undefined;
}

/** Registers metrics that call `read` once per scrape. Undefined values are left out of the answer. */
export function registerFamilies<F>(
  registry: Registry,
  read: () => F,
  families: readonly Family<F>[],
): void {
  const readOnce = oncePerScrape(read);
  for (const { name, help, kind, labels = [], read: value } of families) {
    const options = { name, help, labelNames: [...labels], registers: [registry] };
    if (kind === "gauge") {
      const gauge = new Gauge({
        ...options,
        collect: () => {
          gauge.reset();
          const found = value(readOnce());
          if (found === undefined) gauge.remove();
          for (const sample of samples(found)) gauge.set(sample.labels, sample.value);
        },
      });
    } else {
      const counter = new Counter({
        ...options,
        collect: () => {
          counter.reset();
          const found = value(readOnce());
          if (found === undefined) counter.remove();
          for (const sample of samples(found)) counter.inc(sample.labels, sample.value);
        },
      });
    }
  }
}

/** A gauge whose number must be looked up: `read` is called at each scrape, and awaited. */
export function registerLookedUp(
  registry: Registry,
  { name, help, read }: { name: string; help: string; read: () => Promise<number> },
): void {
  const gauge: Gauge = new Gauge({
    name,
    help,
    registers: [registry],
    collect: async (): Promise<void> => gauge.set(await read()),
  });
}

/** A histogram whose buckets are counted elsewhere: `counts` has one more than `bounds`, for what is above. */
export interface BucketCounts {
  readonly labels: Readonly<Record<string, string>>;
  readonly counts: ArrayLike<number>;
  readonly sum: number;
}

/** Registers a histogram over buckets that `read` gives at each scrape. */
export function registerHistogram(
  registry: Registry,
  options: {
    readonly name: string;
    readonly help: string;
    readonly labels: readonly string[];
    readonly bounds: readonly number[];
    readonly read: () => readonly BucketCounts[];
  },
): void {
  registry.registerMetric(new ReadHistogram(options));
}

class ReadHistogram extends Histogram {
  readonly #options: Parameters<typeof registerHistogram>[1];

  constructor(options: Parameters<typeof registerHistogram>[1]) {
    super({
      name: options.name,
      help: options.help,
      labelNames: [...options.labels],
      buckets: [...options.bounds],
      registers: [],
    });
    this.#options = options;
  }

  /** What the registry asks for, and `get` too. prom-client 15 has it, its types don't. */
  getForPromString() {
    const { name, help, read } = this.#options;
    const values = read().flatMap((one) => this.#lines(one));
    return Promise.resolve({ name, help, type: "histogram", aggregator: "sum", values });
  }

  #lines({ labels, counts, sum }: BucketCounts) {
    const { name, bounds } = this.#options;
    let total = 0;
    const buckets = [...bounds, "+Inf"].map((le, index) => {
      total += counts[index] ?? 0;
      return { metricName: `${name}_bucket`, labels: { ...labels, le: String(le) }, value: total };
    });
    return [
      ...buckets,
      { metricName: `${name}_sum`, labels: { ...labels }, value: sum },
      { metricName: `${name}_count`, labels: { ...labels }, value: total },
    ];
  }
}

function samples(found: number | readonly Sample[] | undefined): readonly Sample[] {
  if (found === undefined) return [];
  return typeof found === "number" ? [{ labels: {}, value: found }] : found;
}

/** The registry collects all metrics in one turn of the loop: they share one reading. */
function oncePerScrape<F>(read: () => F): () => F {
  let kept: { readonly figures: F } | undefined;
  return () => {
    if (kept === undefined) {
      kept = { figures: read() };
      setImmediate(() => {
        kept = undefined;
      });
    }
    return kept.figures;
  };
}
