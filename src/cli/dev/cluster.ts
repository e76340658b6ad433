// A development cluster's processes: started in order, kept running, stopped in order. Leaves options,
// files and what people read to its neighbours.

import type { AdminClient } from "../admin-client.ts";
import { Child } from "./child.ts";
import type { MemberFile } from "./member-files.ts";

export interface DevClusterOptions {
  readonly members: readonly MemberFile[];
  readonly restartAfterMs: number | undefined;
  readonly onLine: (name: string, line: string) => void;
  /** Runs after each start of a member: pids changed. */
  readonly onPids: () => void;
}

export class DevCluster {
  readonly #children = new Map<string, Child>();
  readonly #ended: string[] = [];
  #serving = false;

  constructor(options: DevClusterOptions) {
    const program = process.argv[1] ?? "";
    for (const { id, file, command } of options.members) {
      const serve = [process.execPath, ...process.execArgv, program, "serve", "--config", file];
      const [run = "", ...args] = command ?? serve;
      const child = new Child({
        name: id,
        command: run,
        args,
        // Before the cluster serves, a member that ends has a reason that a restart won't mend.
        restartAfterMs: options.restartAfterMs,
        onLine: (line) => options.onLine(id, line),
        onStart: options.onPids,
        onExit: (status) => {
          if (!this.#serving) this.#ended.push(`${id} ended with ${status}; its log says why`);
          else if (!this.#stopping) options.onLine(id, `member ${id} ended with ${status}`);
        },
      });
      this.#children.set(id, child);
    }
  }

  #stopping = false;

  /** Why the start can't succeed any more, if so. */
  get failure(): string | undefined {
    return this.#ended[0];
  }

  /** The start is over: from now on a member's end is an event, not a failure. */
  markServing(): void {
    this.#serving = true;
  }

  pid(id: string): number {
    return this.#children.get(id)?.pid ?? 0;
  }

  /** Gateways first, so that no session is left without its nodes, then nodes, then the coordinator. */
  async stop(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    this.#stopping = true;
    this.#serving = true;
    const children = [...this.#children.values()].toReversed();
    if (signal === "SIGKILL") {
      await Promise.all(children.map((child) => child.stop(signal)));
      return;
    }
    for (const prefix of ["g", "n", "c"]) {
      const tier = children.filter((child) => child.name.startsWith(prefix));
      await Promise.all(tier.map((child) => child.stop(signal)));
    }
  }
}

/** Creates u1 … uN with the password, those that exist apart. Hashes once for all. */
export async function createUsers(
  client: AdminClient,
  names: readonly string[],
  hash: string,
): Promise<void> {
  for (let from = 0; from < names.length; from += 500) {
    const users = names.slice(from, from + 500).map((name) => ({ name, hash }));
    const answer = await client.request("POST", "/admin/v1/users/import", { users });
    const results: unknown =
      typeof answer === "object" && answer !== null && "results" in answer ? answer.results : [];
    if (!Array.isArray(results)) throw new Error("the admin API answered no results");
    for (const result of results as { name: string; error?: string }[]) {
      if (result.error !== undefined && !result.error.includes("taken")) {
        throw new Error(`user ${result.name} could not be made: ${result.error}`);
      }
    }
  }
}
