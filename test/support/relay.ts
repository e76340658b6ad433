// A TCP relay on loopback that can cut, swallow and stop what passes: a bad network for links.

import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

export interface Relay {
  readonly port: number;
  /** `answers`: bytes from the target vanish; `requests`: those to it. `all`: a half-open link. */
  swallow(what: "nothing" | "answers" | "requests" | "all"): void;
  /** Resets every connection that passes now. New ones are made as before. */
  cut(): void;
  /** Connections made so far. */
  readonly connections: number;
  close(): Promise<void>;
}

export async function startRelay(targetPort: number): Promise<Relay> {
  let swallowed: "nothing" | "answers" | "requests" | "all" = "nothing";
  let connections = 0;
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    connections += 1;
    const far = connect({ host: "127.0.0.1", port: targetPort });
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        sockets.delete(socket);
        if (swallowed !== "all") (socket === near ? far : near).destroy();
      });
    }
    near.on("data", (chunk: Buffer) => {
      if (swallowed === "nothing" || swallowed === "answers") far.write(chunk);
    });
    far.on("data", (chunk: Buffer) => {
      if (swallowed === "nothing" || swallowed === "requests") near.write(chunk);
    });
  });
  await new Promise<void>((resolve) => {
    server.listen({ host: "127.0.0.1", port: 0 }, resolve);
  });
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    swallow: (what) => {
      swallowed = what;
    },
    cut,
    get connections() {
      return connections;
    },
    close: async () => {
      cut();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}
