// The coordinator process: the embedded coordinator on its own disk, served over links.

import { mkdirSync } from "node:fs";
import type { Logger } from "pino";
import { EmbeddedCoordinator } from "../../cluster/coordinator/embedded.ts";
import { serveCoordinator } from "../../cluster/coordinator/coordinator-service.ts";
import { LinkServer } from "../../cluster/link/link-server.ts";
import { MethodRegistry } from "../../cluster/link/registry.ts";
import { startHttp } from "../../gateway/http/server.ts";
import { systemClock } from "../../lib/clock.ts";
import { lockFolder } from "../../lib/folder-lock.ts";
import { systemRandom } from "../../lib/random.ts";
import { realDisk } from "../../lib/real-disk.ts";
import type { Config } from "../config/schema.ts";
import { requireListener } from "./listeners.ts";
import { linkSecurity, type RunningMember, selfDescription } from "./member-base.ts";
import { memberMetrics } from "./metrics.ts";

/** Resolves once links are answered. @throws FolderInUse, ConfigError-like CommandFailure, listen errors */
export async function startCoordinator(config: Config, log: Logger): Promise<RunningMember> {
  const { dataDir } = config.member;
  const link = requireListener(config, "link");
  mkdirSync(dataDir, { recursive: true });
  const lock = await lockFolder(dataDir, systemRandom);
  const coordinator = await EmbeddedCoordinator.open({
    disk: realDisk(dataDir),
    path: "coordinator.log",
    clock: systemClock,
    log,
    fatal: (error) => {
      log.error({ err: error }, "the disk failed; this process ends");
      process.exit(1);
    },
  });
  const registry = new MethodRegistry();
  serveCoordinator(registry, coordinator);
  const server = new LinkServer({
    self: selfDescription(config, "coordinator", () => 0),
    registry,
    security: linkSecurity(config),
    clock: systemClock,
    log,
  });
  await server.listen({ host: link.address, port: link.port });
  const { http } = config.listen;
  const web =
    http === undefined
      ? undefined
      : await startHttp({
          ...http,
          log,
          metrics: memberMetrics(config, () => true),
          notReady: () => [],
        });
  return {
    stop: async (signal) => {
      await web?.close(signal);
      await server.close();
      await coordinator.close();
      await lock.release();
    },
  };
}
