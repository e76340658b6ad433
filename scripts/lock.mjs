// A lock between processes: a folder that holds the owner's pid. The scripts use it so that two
// `npm start` or `npm test` at once do not install or build over each other. Leaves waiting limits
// to the caller's patience: a holder that died is noticed, a slow one is waited for.

import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const pollMs = 200;
const pidWrittenWithinMs = 5_000;

/** Runs `work` while no other process holds `folder`. `onWait` is called once if it has to wait. */
export async function withLock(folder, onWait, work) {
  let waited = false;
  while (!tryLock(folder)) {
    if (!waited) onWait();
    waited = true;
    await sleep(pollMs);
  }
  const release = () => rmSync(folder, { recursive: true, force: true });
  process.once("exit", release);
  try {
    return await work();
  } finally {
    process.off("exit", release);
    release();
  }
}

function tryLock(folder) {
  try {
    mkdirSync(folder);
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
    if (ownerIsGone(folder)) takeAway(folder);
    return false;
  }
  writeFileSync(join(folder, "pid"), String(process.pid));
  return true;
}

function ownerIsGone(folder) {
  try {
    process.kill(Number(readFileSync(join(folder, "pid"), "utf8")) || NaN, 0);
    return false;
  } catch (error) {
    if (error.code === "EPERM") return false;
    if (error.code === "ESRCH") return true;
  }
  // No readable pid: the owner is between its two steps, or died there.
  try {
    return Date.now() - statSync(folder).mtimeMs > pidWrittenWithinMs;
  } catch {
    return false;
  }
}

// Another waiter may have taken the lock since we looked: rename first, look again, give it back.
function takeAway(folder) {
  const aside = `${folder}.${process.pid}`;
  try {
    renameSync(folder, aside);
    if (ownerIsGone(aside)) rmSync(aside, { recursive: true, force: true });
    else renameSync(aside, folder);
  } catch (error) {
    if (error.code !== "ENOENT") throw error;
  }
}
