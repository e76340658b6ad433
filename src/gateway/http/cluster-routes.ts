// The admin API's part for the cluster itself: who holds which shard, nodes to be emptied, copies to be
// promoted by force.

import type { Hono } from "hono";
import { z } from "zod";

export interface ClusterAdmin {
  /** The shard table; JSON-able. */
  shards(): unknown;
  /**
   * Marks a mail node to be emptied (its copies move to others), or takes the mark away.
   * @throws {MailError} INVALID (no such node), CONFLICT, UNAVAILABLE
   */
  setDraining(node: string, draining: boolean): Promise<void>;
  /**
   * What is given up by promoting the copy at `node`; with `fenced` it is promoted. JSON-able.
   * @throws {MailError} INVALID, CONFLICT, UNAVAILABLE
   */
  forcePromote(shard: number, node: string, fenced: boolean): Promise<unknown>;
}

const forced = z.strictObject({ node: z.string().max(32), fenced: z.boolean() });

/** Adds `/shards`, `/shards/:id/force-promote`, and `/nodes/:id/drain`, `/nodes/:id/undrain`. */
export function addClusterRoutes(api: Hono, cluster: ClusterAdmin): void {
  api.get("/shards", (context) => {
    context.header("content-type", "application/json");
    return context.body(JSON.stringify({ shards: cluster.shards() }));
  });
  api.post("/shards/:id/force-promote", async (context) => {
    const body = forced.safeParse(await context.req.json().catch(() => undefined));
    const shard = context.req.param("id");
    if (!body.success || !/^\d{1,4}$/.test(shard)) {
      return context.json({ message: "a shard, and {node, fenced} as JSON" }, 400);
    }
    const { node, fenced } = body.data;
    context.header("content-type", "application/json");
    return context.body(JSON.stringify(await cluster.forcePromote(Number(shard), node, fenced)));
  });
  api.all("/shards/:id/force-promote", (context) => {
    context.header("allow", "POST");
    return context.json({ message: "this path takes POST" }, 405);
  });
  for (const [path, draining] of [
    ["/nodes/:id/drain", true],
    ["/nodes/:id/undrain", false],
  ] as const) {
    api.post(path, async (context) => {
      await cluster.setDraining(context.req.param("id"), draining);
      return context.json({});
    });
    api.all(path, (context) => {
      context.header("allow", "POST");
      return context.json({ message: "this path takes POST" }, 405);
    });
  }
}
