// The network between the members of a test cluster: every link and every datagram goes through a relay
// of its own per ordered pair of members, which can be cut: each way, each plane. Clients are not affected.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { root } from "../processes.ts";
import { fairWeather, type Weather } from "./pulse-relay.ts";

/** Nothing goes from one member to another. */
export interface Cut {
  readonly from: string;
  /** `c1`: the coordinator, etcd too. */
  readonly to: string;
  /** TCP or UDP alone; both when absent. */
  readonly plane?: "link" | "pulse";
}

export interface DatagramCounts {
  readonly passed: number;
  readonly lost: number;
  readonly doubled: number;
  readonly forged: number;
}

export type ToRelays =
  | {
      readonly kind: "start";
      readonly members: readonly string[];
      readonly data: string;
      readonly seed: number;
    }
  | { readonly kind: "cut"; readonly cuts: readonly Cut[] }
  | { readonly kind: "weather"; readonly weather: Weather }
  | { readonly kind: "count" };

export type FromRelays =
  | {
      readonly kind: "started";
      readonly routes: readonly {
        readonly from: string;
        readonly to: string;
        readonly link: number;
        readonly pulse: number | undefined;
      }[];
    }
  | { readonly kind: "done" }
  | { readonly kind: "counts"; readonly counts: DatagramCounts };

export class BadNetwork {
  readonly #child: ChildProcess;
  /** `key=value` for every member: where it reaches the others. */
  readonly setting: string;

  /** @param data where `pabal dev` will write its members' files. */
  static async start(members: readonly string[], data: string, seed: number): Promise<BadNetwork> {
    const file = fileURLToPath(new URL("./relay-process.ts", import.meta.url));
    const child = fork(file, { cwd: root, execArgv: ["--import", "tsx"] });
    const answer = await ask(child, { kind: "start", members, data, seed });
    if (answer.kind !== "started") throw new Error("the relays did not start");
    const routes: Record<string, Record<string, { link: string; pulse?: string }>> = {};
    for (const { from, to, link, pulse } of answer.routes) {
      routes[from] ??= {};
      routes[from][to] = {
        link: `127.0.0.1:${link}`,
        ...(pulse === undefined ? {} : { pulse: `127.0.0.1:${pulse}` }),
      };
    }
    return new BadNetwork(child, `cluster.routes=${JSON.stringify(routes)}`);
  }

  private constructor(child: ChildProcess, setting: string) {
    this.#child = child;
    this.setting = setting;
  }

  /** These ways and no others are cut from now on. */
  async cut(cuts: readonly Cut[]): Promise<void> {
    await ask(this.#child, { kind: "cut", cuts });
  }

  async heal(): Promise<void> {
    await this.cut([]);
    await this.setWeather(fairWeather);
  }

  /** Of all datagrams. */
  async setWeather(weather: Weather): Promise<void> {
    await ask(this.#child, { kind: "weather", weather });
  }

  async counts(): Promise<DatagramCounts> {
    const answer = await ask(this.#child, { kind: "count" });
    if (answer.kind !== "counts") throw new Error("the relays did not count");
    return answer.counts;
  }

  close(): void {
    this.#child.kill("SIGKILL");
  }
}

/** Both ways between each of `some` and each of `others`. */
export function between(
  some: readonly string[],
  others: readonly string[],
  plane?: "link" | "pulse",
): readonly Cut[] {
  return [...oneWay(some, others, plane), ...oneWay(others, some, plane)];
}

export function oneWay(
  from: readonly string[],
  to: readonly string[],
  plane?: "link" | "pulse",
): readonly Cut[] {
  return from.flatMap((a) =>
    to
      .filter((b) => b !== a)
      .map((b) => ({ from: a, to: b, ...(plane === undefined ? {} : { plane }) })),
  );
}

/** One question at a time: callers wait for the answer. */
async function ask(child: ChildProcess, message: ToRelays): Promise<FromRelays> {
  const limit = AbortSignal.timeout(10_000);
  const answered = once(child, "message", { signal: limit });
  child.send(message);
  const [answer] = (await answered) as [FromRelays];
  return answer;
}
