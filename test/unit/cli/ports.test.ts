// Ports of a development cluster, in the order in which they are tried.

import { expect, test } from "vitest";
import { candidatePorts } from "../../../src/cli/dev/ports.ts";

function first(count: number, pid: number): readonly number[] {
  const ports: number[] = [];
  for (const port of candidatePorts(pid)) {
    if (ports.length === count) break;
    ports.push(port);
  }
  return ports;
}

test("each port once, none that fetch refuses to ask (Fetch Standard, bad ports), none of outgoing connections", () => {
  const ports = [...candidatePorts(4711)];
  expect(new Set(ports).size).toBe(ports.length);
  expect(ports).not.toContain(10_080);
  expect(Math.min(...ports)).toBe(10_000);
  expect(Math.max(...ports)).toBe(31_999);
});

test("clusters started one right after the other try different ports", () => {
  const pids = Array.from({ length: 200 }, (_, n) => 30_000 + n);
  const ports = pids.flatMap((pid) => first(99, pid));
  expect(new Set(ports).size).toBe(ports.length);
});
