// Ports of a development cluster: free ones, or fixed offsets from --port-base. Chosen once, so that
// a member that is started again has the ports it had.

import { createServer } from "node:net";
import { CommandFailure, exitStatus } from "../failure.ts";

/** Listeners of one gateway, in the order of their offsets. */
export const gatewayListeners = [
  "smtp",
  "submission",
  "submissions",
  "lmtp",
  "imap",
  "imaps",
  "pop3",
  "pop3s",
  "http",
  "ring",
] as const;
export type GatewayListener = (typeof gatewayListeners)[number];

export interface NodePorts {
  readonly link: number;
  readonly http: number;
}

export interface DevPorts {
  readonly coordinator: { readonly link: number; readonly http: number };
  readonly gateways: readonly Readonly<Record<GatewayListener, number>>[];
  readonly nodes: readonly NodePorts[];
}

/**
 * Ports for so many gateways and nodes. With `base` N: coordinator N and N+1, gateway i at
 * N + 20·i + offset (smtp 0, submission 1, … http 8, ring 9), node i at N + 500 + 2·i (link) and + 1 (http).
 * With `base` 0 each is free at the time of asking.
 */
export async function choosePorts(
  base: number,
  gatewayCount: number,
  nodeCount: number,
): Promise<DevPorts> {
  const numbers = Array.from({ length: gatewayCount }, (_, index) => index + 1);
  const nodes = Array.from({ length: nodeCount }, (_, index) => index + 1);
  if (base !== 0) {
    return {
      coordinator: { link: base, http: base + 1 },
      gateways: numbers.map((n) =>
        gatewayPorts((listener) => base + 20 * n + gatewayListeners.indexOf(listener)),
      ),
      nodes: nodes.map((n) => ({ link: base + 500 + 2 * n, http: base + 501 + 2 * n })),
    };
  }
  const free = await freePorts(2 + gatewayCount * gatewayListeners.length + nodeCount * 2);
  const take = (): number => free.pop() ?? 0;
  return {
    coordinator: { link: take(), http: take() },
    gateways: numbers.map(() => gatewayPorts(take)),
    nodes: nodes.map(() => ({ link: take(), http: take() })),
  };
}

function gatewayPorts(
  port: (listener: GatewayListener) => number,
): Readonly<Record<GatewayListener, number>> {
  return {
    smtp: port("smtp"),
    submission: port("submission"),
    submissions: port("submissions"),
    lmtp: port("lmtp"),
    imap: port("imap"),
    imaps: port("imaps"),
    pop3: port("pop3"),
    pop3s: port("pop3s"),
    http: port("http"),
    ring: port("ring"),
  };
}

/**
 * Below the range from which systems take ports for outgoing connections: one of those could otherwise
 * sit on a member's port while the member is down.
 */
const [lowestPort, highestPort] = [10_000, 32_000];
/** amanda's: `fetch` and browsers refuse to ask there (Fetch Standard, "bad port"). */
const refusedPort = 10_080;
/** Clusters started at the same time look from places so far apart: none takes what another let go. */
const portsApart = 100;

/** Distinct free loopback ports: all are held at the same time, then let go. */
async function freePorts(count: number): Promise<number[]> {
  const held: { readonly port: number; readonly release: () => Promise<void> }[] = [];
  try {
    for (const port of candidatePorts(process.pid)) {
      if (held.length === count) break;
      const server = await holdPort(port);
      if (server !== undefined) held.push(server);
    }
    if (held.length < count) {
      throw new CommandFailure(
        `no free ports from ${lowestPort} to ${highestPort}; say --port-base`,
        exitStatus.unavailable,
      );
    }
    return held.map(({ port }) => port);
  } finally {
    await Promise.all(held.map(({ release }) => release()));
  }
}

/** Every port that members of a development cluster may have, in the order in which process `pid` asks. */
export function* candidatePorts(pid: number): Generator<number> {
  const ports = highestPort - lowestPort;
  for (let n = 0; n < ports; n++) {
    const port = lowestPort + ((pid * portsApart + n) % ports);
    if (port !== refusedPort) yield port;
  }
}

/** Undefined when the port is taken. */
async function holdPort(
  port: number,
): Promise<{ readonly port: number; readonly release: () => Promise<void> } | undefined> {
  const server = createServer();
  const bound = await new Promise<boolean>((done) => {
    server.once("error", () => done(false));
    server.listen(port, "127.0.0.1", () => done(true));
  });
  if (!bound) return undefined;
  const release = async (): Promise<void> => {
    await new Promise((done) => {
      server.close(done);
    });
  };
  return { port, release };
}
