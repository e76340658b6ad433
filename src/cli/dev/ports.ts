// Ports of a development cluster: free ones, or fixed offsets from --port-base. Chosen once, so that
// a member that is started again has the ports it had.

import { createServer } from "node:net";

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

/** Distinct free loopback ports: all are held at the same time, then let go. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, holdPort));
  await Promise.all(servers.map(({ release }) => release()));
  return servers.map(({ port }) => port);
}

async function holdPort(): Promise<{ port: number; release: () => Promise<void> }> {
  const server = createServer();
  await new Promise<void>((done, fail) => {
    server.once("error", fail);
    server.listen(0, "127.0.0.1", done);
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    port,
    release: async () => {
      await new Promise((done) => {
        server.close(done);
      });
    },
  };
}
