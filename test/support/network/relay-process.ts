// The process that all links and datagrams of a test cluster go through, so that nothing the test does
// keeps them waiting. Its parent says what passes; see bad-network.ts.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setPriority } from "node:os";
import { parse } from "yaml";
import { z } from "zod";
import { seeded } from "../chaos.ts";
import type { Cut, FromRelays, ToRelays } from "./bad-network.ts";
import { LinkRelay } from "./link-relay.ts";
import { PulseRelay } from "./pulse-relay.ts";

interface Pair {
  readonly from: string;
  readonly to: string;
  readonly link: LinkRelay;
  /** None to the coordinator. */
  readonly pulse: PulseRelay | undefined;
}

const memberFile = z.looseObject({
  cluster: z.looseObject({
    coordinator: z.looseObject({
      address: z.string().optional(),
      endpoints: z.array(z.string()).optional(),
    }),
  }),
  listen: z.looseObject({ link: z.looseObject({ port: z.number() }) }),
});

/** Where a member listens, by the configuration that `pabal dev` has written; kept once it is known. */
class Ports {
  readonly #folder: string;
  readonly #known = new Map<string, number>();

  constructor(data: string) {
    this.#folder = join(data, "config");
  }

  of(member: string): number | undefined {
    const known = this.#known.get(member);
    if (known !== undefined) return known;
    try {
      const port = member === "c1" ? this.#coordinator() : this.#file(member).listen.link.port;
      this.#known.set(member, port);
      return port;
    } catch {
      return undefined; // Not written yet.
    }
  }

  #coordinator(): number {
    const { address, endpoints } = this.#file("n1").cluster.coordinator;
    return Number((address ?? endpoints?.[0] ?? "").split(":").at(-1));
  }

  #file(member: string): z.infer<typeof memberFile> {
    return memberFile.parse(parse(readFileSync(join(this.#folder, `${member}.yaml`), "utf8")));
  }
}

async function startPairs(members: readonly string[], data: string, seed: number): Promise<Pair[]> {
  const ports = new Ports(data);
  const random = seeded(seed);
  const pairs: Pair[] = [];
  for (const from of members) {
    for (const to of [...members, "c1"]) {
      if (from === to) continue;
      const target = (): number | undefined => ports.of(to);
      const link = await LinkRelay.start(target);
      const pulse = to === "c1" ? undefined : await PulseRelay.start(target, random);
      pairs.push({ from, to, link, pulse });
    }
  }
  return pairs;
}

function apply(pairs: readonly Pair[], cuts: readonly Cut[]): void {
  const isCut = (plane: "link" | "pulse", from: string, to: string): boolean =>
    cuts.some(
      (cut) =>
        cut.from === from && cut.to === to && (cut.plane === undefined || cut.plane === plane),
    );
  for (const { from, to, link, pulse } of pairs) {
    link.hold({ forth: isCut("link", from, to), back: isCut("link", to, from) });
    pulse?.cut(isCut("pulse", from, to));
  }
}

try {
  setPriority(-10);
} catch {
  // Only root may; then it waits its turn like everybody.
}
let pairs: readonly Pair[] = [];
const say = (message: FromRelays): void => void process.send?.(message);
process.on("disconnect", () => process.exit(0));
process.on("message", (message: ToRelays) => {
  switch (message.kind) {
    case "start":
      startPairs(message.members, message.data, message.seed).then(
        (made) => {
          pairs = made;
          const routes = made.map(({ from, to, link, pulse }) => {
            return { from, to, link: link.port, pulse: pulse?.port };
          });
          say({ kind: "started", routes });
        },
        (error: unknown) => {
          process.stderr.write(`relays: ${String(error)}\n`);
          process.exit(1);
        },
      );
      return;
    case "cut":
      apply(pairs, message.cuts);
      return say({ kind: "done" });
    case "weather":
      for (const { pulse } of pairs) pulse?.setWeather(message.weather);
      return say({ kind: "done" });
    case "count": {
      const counts = { passed: 0, lost: 0, doubled: 0, forged: 0 };
      for (const { pulse } of pairs) {
        for (const name of ["passed", "lost", "doubled", "forged"] as const) {
          counts[name] += pulse?.counts[name] ?? 0;
        }
      }
      return say({ kind: "counts", counts });
    }
  }
});
