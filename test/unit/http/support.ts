// A member's HTTP server over a fake AccountAdmin, on any free port.

import { connect } from "node:net";
import { pino } from "pino";
import { Registry } from "prom-client";
import { type HttpOptions, startHttp } from "../../../src/gateway/http/server.ts";
import { FakeAccountAdmin } from "../../support/fake-account-admin.ts";

export const token = "a-token-of-the-tests";

export interface TestServer {
  readonly port: number;
  readonly url: string;
  readonly accounts: FakeAccountAdmin;
  readonly registry: Registry;
  /** Everything logged. */
  readonly logged: string[];
  missing: readonly string[];
  status: () => Promise<unknown>;
  close(signal?: AbortSignal): Promise<void>;
}

export async function startTestServer(
  options: { token?: string | undefined; admin?: boolean; limits?: HttpOptions["limits"] } = {},
): Promise<TestServer> {
  const accounts = new FakeAccountAdmin();
  const registry = new Registry();
  const logged: string[] = [];
  const server: { missing: readonly string[]; status: () => Promise<unknown> } = {
    missing: [],
    status: () => Promise.resolve({ cluster: "test" }),
  };
  const given = "token" in options ? options.token : token;
  const listener = await startHttp({
    address: "127.0.0.1",
    port: 0,
    log: pino({ level: "trace" }, { write: (line: string) => logged.push(line) }),
    metrics: registry,
    notReady: () => server.missing,
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    ...(options.admin === false
      ? {}
      : { admin: { accounts, token: given, status: () => server.status() } }),
  });
  return Object.assign(server, {
    port: listener.port,
    url: `http://127.0.0.1:${listener.port}`,
    accounts,
    registry,
    logged,
    close: (signal = AbortSignal.timeout(1000)) => listener.close(signal),
  });
}

/** Sends bytes as they are and resolves with all that comes back until the server closes. */
export function rawExchange(port: number, chunks: Iterable<string>): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    let answer = "";
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => {
      answer += text;
    });
    socket.on("error", () => {}); // A reset after the answer is one way to refuse the rest.
    socket.on("close", () => resolve(answer));
    for (const chunk of chunks) socket.write(chunk);
  });
}
