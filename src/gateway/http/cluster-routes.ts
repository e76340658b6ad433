// The admin API's part for the cluster itself: who holds which shard, nodes to be emptied.

import type { Hono } from "hono";

export interface ClusterAdmin {
  /** The shard table; JSON-able. */
  shards(): unknown;
  /**
   * Marks a mail node to be emptied (its copies move to others), or takes the mark away.
   * @throws {MailError} INVALID (no such node), CONFLICT, UNAVAILABLE
   */
  setDraining(node: string, draining: boolean): Promise<void>;
}

/** Adds `/shards` and `/nodes/:id/drain`, `/nodes/:id/undrain`. */
export function addClusterRoutes(api: Hono, cluster: ClusterAdmin): void {
  api.get("/shards", (context) => {
    context.header("content-type", "application/json");
    return context.body(JSON.stringify({ shards: cluster.shards() }));
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
