// How a run with the real store breaks a rule: lies told from outside, by the disk, by leases or by
// the table. Production code has no switches for it.

import type { LeaseSource } from "../../../src/cluster/node/lease-source.ts";
import type { ShardConfig } from "../../../src/cluster/protocol/shard-config.ts";
import type { DiskFile } from "../../../src/lib/disk.ts";
import { SimulatedDisk } from "../../../src/lib/simulated-disk.ts";
import type { SimulatedDiskOptions } from "../../../src/lib/simulated-disk.ts";
import type { Rule } from "../world/rules.ts";

/** A disk that says that it has synced segments when it has not. */
class HastyDisk extends SimulatedDisk {
  override async open(path: string, mode: "read" | "write" | "create"): Promise<DiskFile> {
    const file = await super.open(path, mode);
    if (!path.endsWith(".seg")) return file;
    return { ...file, sync: () => Promise.resolve() };
  }
}

export function lyingDisk(broken: Rule | undefined, options: SimulatedDiskOptions): SimulatedDisk {
  return broken === "fsyncBeforeAck" ? new HastyDisk(options) : new SimulatedDisk(options);
}

export function bendLeases(
  broken: Rule | undefined,
  nowMs: () => number,
  leases: LeaseSource,
): LeaseSource {
  return broken === "lease" ? { ...leases, leaseStartMs: nowMs } : leases;
}

export function bendConfig(broken: Rule | undefined, config: ShardConfig): ShardConfig {
  if (broken === "minCopies") return { ...config, minCopies: 1 };
  return config;
}
