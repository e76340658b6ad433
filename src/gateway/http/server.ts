// HTTP of a member: health, readiness, metrics, and on gateways the admin API. Also used by mail nodes
// and the coordinator, which mount no admin API.

import { type ServerType, serve } from "@hono/node-server";
import { Hono } from "hono";
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import type { Listener } from "../services.ts";
import { type AdminServices, adminApi } from "./admin-api.ts";

export interface HttpOptions {
  readonly address: string;
  readonly port: number;
  readonly log: Logger;
  readonly metrics: Registry;
  /** What is missing until this member can serve; empty: ready. */
  readonly notReady: () => readonly string[];
  readonly admin?: AdminServices;
}

const bodyBytesMax = 4 * 1024 * 1024;

/** Starts listening; resolves once the port is bound. Rejects with the listen error (EADDRINUSE …). */
export async function startHttp(options: HttpOptions): Promise<Listener> {
  const app = new Hono();
  app.get("/healthz", (context) => context.json({ ok: true }));
  app.get("/readyz", (context) => {
    const missing = options.notReady();
    return context.json({ ready: missing.length === 0, missing }, missing.length === 0 ? 200 : 503);
  });
  app.get("/metrics", async (context) => {
    context.header("content-type", options.metrics.contentType);
    return context.body(await options.metrics.metrics());
  });
  app.use("/admin/*", async (context, next) => {
    const length = Number(context.req.header("content-length") ?? "0");
    if (length > bodyBytesMax)
      return context.json({ message: `more than ${bodyBytesMax} bytes` }, 413);
    await next();
    return undefined;
  });
  if (options.admin !== undefined) app.route("/admin/v1", adminApi(options.admin));
  app.notFound((context) => context.json({ message: "no such page" }, 404));
  app.onError((error, context) => {
    options.log.error({ err: error, path: context.req.path }, "http request failed");
    return context.json({ message: "internal error; see the log" }, 500);
  });
  const server = await listen(app, options);
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : options.port,
    close: async (signal) => {
      await new Promise<void>((done) => {
        const end = (): void => {
          if ("closeAllConnections" in server) server.closeAllConnections();
        };
        signal.addEventListener("abort", end, { once: true });
        server.close(() => {
          signal.removeEventListener("abort", end);
          done();
        });
        if ("closeIdleConnections" in server) server.closeIdleConnections();
        if (signal.aborted) end();
      });
    },
  };
}

async function listen(app: Hono, { address, port }: HttpOptions): Promise<ServerType> {
  return new Promise((done, fail) => {
    const server = serve({ fetch: app.fetch, hostname: address, port }, () => done(server));
    server.once("error", fail);
  });
}
