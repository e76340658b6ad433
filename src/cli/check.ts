// Opens a stopped node's store as its start would, and looks for damage. Takes no part in a cluster:
// what was not committed before stays so.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../lib/clock.ts";
import { FolderInUse, lockFolder } from "../lib/folder-lock.ts";
import { systemRandom } from "../lib/random.ts";
import { realDisk } from "../lib/real-disk.ts";
import { isMailError, MailError } from "../mail/errors.ts";
import { checkStore, type Finding } from "../store/check.ts";
import type { Journal } from "../store/journal.ts";
import { openIndex, openStore } from "../store/open-store.ts";
import { loadConfig } from "./config/load.ts";
import { CommandFailure, exitStatus } from "./failure.ts";

export interface CheckOutcome {
  readonly shards: number;
  readonly findings: readonly Finding[];
}

const findingsMost = 10_000;

/** @throws CommandFailure when the store can't be opened: in use, none there, a newer format, index lost. */
export async function checkNode(configFile: string, bodies: boolean): Promise<CheckOutcome> {
  const { member } = loadConfig(configFile);
  if (member.role !== "node") {
    throw new CommandFailure(
      `${member.id} is a ${member.role}: only nodes hold mail`,
      exitStatus.usage,
    );
  }
  const { dataDir } = member;
  if (!existsSync(join(dataDir, "index"))) {
    throw new CommandFailure(`${dataDir} has no store`, exitStatus.noInput);
  }
  try {
    const lock = await lockFolder(dataDir, systemRandom);
    try {
      return await look(dataDir, bodies);
    } finally {
      await lock.release();
    }
  } catch (error) {
    if (error instanceof FolderInUse) {
      throw new CommandFailure(error.message, exitStatus.unavailable, { cause: error });
    }
    if (isMailError(error)) {
      throw new CommandFailure(`${dataDir}: ${error.message}`, exitStatus.failed, { cause: error });
    }
    throw error;
  }
}

async function look(dataDir: string, bodies: boolean): Promise<CheckOutcome> {
  const opened = await openStore({
    disk: realDisk(dataDir),
    index: await openIndex(join(dataDir, "index")),
    clock: systemClock,
    random: systemRandom,
    makeJournal: (parts) => Promise.resolve({ journal: closedJournal, bodies: parts.bodies }),
    onFatal: (error) => {
      throw error;
    },
  });
  const findings: Finding[] = [];
  try {
    const shards = [...opened.log.shards.keys()];
    const { damage } = opened.log;
    const { signal } = new AbortController();
    for await (const finding of checkStore(opened.engine, { shards, damage, bodies }, signal)) {
      findings.push(finding);
      if (findings.length === findingsMost) break;
    }
    return { shards: shards.length, findings };
  } finally {
    await opened.close();
  }
}

/** Nothing is written: this process is no member. */
const closedJournal: Journal = {
  propose: (draft) => {
    throw new MailError({ code: "WRONG_NODE", shard: draft.shard });
  },
  serves: () => false,
};
