// Where a member reaches others: its own row of cluster.routes, and what the others announce.

import { expect, test } from "vitest";
import type { Config } from "../../../src/cli/config/schema.ts";
import { configSchema } from "../../../src/cli/config/schema.ts";
import { coordinatorAddress } from "../../../src/cli/members/coordinator-way.ts";
import { ownRoutes } from "../../../src/cli/members/member-base.ts";
import { memberId } from "../../../src/mail/ids.ts";

function config(id: string, routes: unknown): Config {
  return configSchema.parse({
    cluster: {
      id: "test",
      coordinator: { address: "127.0.0.1:1" },
      link: { plaintext: true },
      routes,
    },
    member: { id, role: "node", dataDir: "/tmp/none" },
    listen: { link: { port: 1 } },
  });
}

test("a member takes its own row of the routes", () => {
  const routes = {
    n1: { n2: { link: "127.0.0.1:7", pulse: "[::1]:8" }, c1: { link: "127.0.0.1:9" } },
    n2: { n1: { pulse: "127.0.0.1:10" } },
  };
  expect([...ownRoutes(config("n1", routes))]).toEqual([
    ["n2", { link: { host: "127.0.0.1", port: 7 }, pulse: { host: "::1", port: 8 } }],
    ["c1", { link: { host: "127.0.0.1", port: 9 } }],
  ]);
  expect([...ownRoutes(config("n2", routes))]).toEqual([
    [memberId("n1"), { pulse: { host: "127.0.0.1", port: 10 } }],
  ]);
  expect(ownRoutes(config("n3", routes)).size).toBe(0);
});

test("the coordinator is reached by its route, else by its address", () => {
  const routes = { n1: { c1: { link: "127.0.0.1:9" } } };
  expect(coordinatorAddress(config("n1", routes)).port).toBe(9);
  expect(coordinatorAddress(config("n2", routes)).port).toBe(1);
});

test("a route without a port, or to no member's name, is refused", () => {
  expect(() => config("n1", { n1: { n2: { link: "127.0.0.1" } } })).toThrow("host:port");
  expect(() => config("n1", { n1: { "N 2": {} } })).toThrow();
});
