// Two members on loopback for tests of links: a server with methods, a manager that dials it.

import { pino } from "pino";
import type { Logger } from "pino";
import { MemoryAddressBook } from "../../../src/cluster/link/address-book.ts";
import { LinkManager, whenUp } from "../../../src/cluster/link/link-manager.ts";
import type { LinkManagerOptions } from "../../../src/cluster/link/link-manager.ts";
import { LinkServer } from "../../../src/cluster/link/link-server.ts";
import type { LinkServerOptions } from "../../../src/cluster/link/link-server.ts";
import { MethodRegistry } from "../../../src/cluster/link/registry.ts";
import type { Peer } from "../../../src/cluster/link/rpc.ts";
import { systemClock } from "../../../src/lib/clock.ts";
import { systemRandom } from "../../../src/lib/random.ts";
import { memberId } from "../../../src/mail/ids.ts";
import type { MemberId } from "../../../src/mail/ids.ts";

export const server = memberId("n1");
export const client = memberId("g1");
export const cluster = "test";

export interface LogLine {
  readonly level: number;
  readonly msg: string;
  readonly why?: string;
}

/** A logger whose lines are kept. */
export function keepingLogger(): { readonly log: Logger; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const log = pino(
    { level: "debug" },
    {
      write: (line: string) => {
        lines.push(JSON.parse(line) as LogLine);
      },
    },
  );
  return { log, lines };
}

export function describeSelf(member: MemberId): LinkServerOptions["self"] {
  return { cluster, member, role: "node", incarnation: () => 1 };
}

/** What a test has opened; closed in `afterEach`. */
export class Members {
  readonly #open: (() => void | Promise<void>)[] = [];

  onClose(close: () => void | Promise<void>): void {
    this.#open.push(close);
  }

  async server(
    registry: MethodRegistry,
    options: Partial<LinkServerOptions> & { readonly port?: number } = {},
  ): Promise<LinkServer> {
    const { port, ...rest } = options;
    const made = new LinkServer({
      self: describeSelf(server),
      registry,
      security: { kind: "plaintext" },
      clock: systemClock,
      log: keepingLogger().log,
      ...rest,
    });
    await made.listen({ host: "127.0.0.1", port: port ?? 0 });
    this.onClose(() => made.close());
    return made;
  }

  manager(
    port: number,
    options: Partial<LinkManagerOptions> = {},
  ): { readonly links: LinkManager; readonly addresses: MemoryAddressBook } {
    const addresses = new MemoryAddressBook();
    if (port > 0) addresses.set(server, { host: "127.0.0.1", port });
    const links = new LinkManager({
      self: describeSelf(client),
      addresses,
      security: { kind: "plaintext" },
      clock: systemClock,
      log: keepingLogger().log,
      random: systemRandom,
      ...options,
    });
    this.onClose(() => links.close());
    return { links, addresses };
  }

  /** A peer whose link is up, of a server with the methods that `fill` registers. */
  async peerWith(
    fill: (registry: MethodRegistry) => void,
    options: {
      readonly server?: Partial<LinkServerOptions>;
      readonly manager?: Partial<LinkManagerOptions>;
    } = {},
  ): Promise<Peer> {
    const registry = new MethodRegistry();
    fill(registry);
    const listening = await this.server(registry, options.server);
    const { links } = this.manager(listening.port, options.manager);
    const peer = links.peer(server);
    await whenUp(peer, AbortSignal.timeout(5000));
    return peer;
  }

  async close(): Promise<void> {
    const open: readonly (() => void | Promise<void>)[] = this.#open.splice(0);
    for (let at = open.length - 1; at >= 0; at--) await open[at]?.();
  }
}

/** Waits for a condition of the test, at most five seconds. */
export async function until(holds: () => boolean, what: string): Promise<void> {
  const giveUpMs = performance.now() + 5000;
  while (!holds()) {
    if (performance.now() > giveUpMs) throw new Error(`never: ${what}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 2);
    });
  }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** For handlers that do not answer. */
export function never(): Promise<never> {
  return new Promise<never>(ignore);
}

function ignore(): void {
  // Neither resolves nor rejects.
}
