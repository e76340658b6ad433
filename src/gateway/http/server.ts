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
  readonly limits?: Partial<HttpLimits>;
}

export interface HttpLimits {
  /** To read the head of a request. */
  readonly headersMs: number;
  /** To read a whole request. */
  readonly requestMs: number;
  readonly headerBytesMax: number;
  readonly connectionsMax: number;
}

const defaultLimits: HttpLimits = {
  headersMs: 10_000,
  requestMs: 60_000,
  headerBytesMax: 16 * 1024,
  connectionsMax: 512,
};

/** Starts listening; resolves once the port is bound. Rejects with the listen error (EADDRINUSE …). */
export async function startHttp(options: HttpOptions): Promise<Listener> {
  let closing = false;
  const app = routes(options, () => closing);
  const server = await listen(app, options);
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : options.port,
    close: async (signal) => {
      closing = true;
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

function routes(options: HttpOptions, closing: () => boolean): Hono {
  const app = new Hono();
  app.use("*", async (context, next) => {
    await next();
    // A kept connection would hold up the end of this process.
    if (closing()) context.header("connection", "close");
  });
  app.get("/healthz", (context) => context.json({ ok: true }));
  app.get("/readyz", (context) => {
    const missing = options.notReady();
    return context.json({ ready: missing.length === 0, missing }, missing.length === 0 ? 200 : 503);
  });
  app.get("/metrics", async (context) => {
    context.header("content-type", options.metrics.contentType);
    return context.body(await options.metrics.metrics());
  });
  for (const path of ["/healthz", "/readyz", "/metrics"]) {
    app.all(path, (context) => {
      context.header("allow", "GET, HEAD");
      return context.json({ message: "only GET and HEAD work here" }, 405);
    });
  }
  if (options.admin !== undefined) app.route("/admin/v1", adminApi(options.admin));
  app.notFound((context) => context.json({ message: "no such page" }, 404));
  app.onError((error, context) => {
    options.log.error(
      { err: error, method: context.req.method, path: context.req.path },
      "http request failed",
    );
    return context.json({ message: "internal error; see the log" }, 500);
  });
  return app;
}

async function listen(app: Hono, options: HttpOptions): Promise<ServerType> {
  const limits = { ...defaultLimits, ...options.limits };
  return new Promise((done, fail) => {
    const server = serve(
      {
        fetch: app.fetch,
        hostname: options.address,
        port: options.port,
        serverOptions: {
          maxHeaderSize: limits.headerBytesMax,
          headersTimeout: limits.headersMs,
          requestTimeout: limits.requestMs,
          connectionsCheckingInterval: Math.min(5_000, limits.headersMs),
        },
      },
      () => {
        server.off("error", fail);
        // Out of file descriptors and the like: the listener lives on.
        server.on("error", (error: Error) => options.log.error({ err: error }, "http listener"));
        done(server);
      },
    );
    server.maxConnections = limits.connectionsMax;
    server.once("error", fail);
  });
}
