// Loaded into members of a test cluster (NODE_OPTIONS): each fdatasync of theirs takes as much longer as
// the file says that is named for the member, in milliseconds. Their own code is as it always is.

import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const folder = process.env.PABAL_TEST_SLOW_SYNC;
const config = process.argv[process.argv.indexOf("--config") + 1] ?? "";
const file = join(folder ?? "", basename(config, ".yaml"));

if (folder !== undefined && process.argv.includes("serve")) {
  const handle = await open(fileURLToPath(import.meta.url));
  const prototype = Object.getPrototypeOf(handle);
  const { datasync } = prototype;
  await handle.close();
  prototype.datasync = async function slowly() {
    const ms = delayMs();
    if (ms > 0) await wait(ms);
    return datasync.call(this);
  };
}

function delayMs() {
  try {
    return Number(readFileSync(file, "utf8"));
  } catch {
    return 0; // Nobody has asked for it.
  }
}
