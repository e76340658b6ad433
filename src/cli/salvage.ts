// Writes the mail that a node's segments still hold to Maildirs: the last resort, when index and peer are
// lost. What the segments tell is store/salvage.ts.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../lib/clock.ts";
import { FolderInUse, lockFolder } from "../lib/folder-lock.ts";
import { systemRandom } from "../lib/random.ts";
import { realDisk } from "../lib/real-disk.ts";
import { isMailError } from "../mail/errors.ts";
import { hierarchyDelimiter } from "../mail/mailbox-name.ts";
import { BlobStore } from "../store/log/blob-store.ts";
import { type Salvaged, salvage } from "../store/salvage.ts";
import { loadConfig } from "./config/load.ts";
import { CommandFailure, exitStatus, fileFailure } from "./failure.ts";

export interface SalvageOutcome {
  readonly messages: number;
  /** Messages that were there and whose bytes can't be read. */
  readonly lost: number;
  readonly folders: number;
}

const levelBytesMost = 200;
const maildirFlags: readonly (readonly [flag: string, letter: string])[] = [
  ["\\draft", "D"],
  ["\\flagged", "F"],
  ["\\answered", "R"],
  ["\\seen", "S"],
  ["\\deleted", "T"],
];

/**
 * Writes `out/<user>/<mailbox>/{cur,new,tmp}`; the node's data is only read. `out` must be empty or absent.
 * @throws CommandFailure
 */
export async function salvageNode(configFile: string, out: string): Promise<SalvageOutcome> {
  const { dataDir } = loadConfig(configFile).member;
  if (!existsSync(join(dataDir, "log"))) {
    throw new CommandFailure(`${dataDir} has no segments of a mail node`, exitStatus.noInput);
  }
  try {
    await mkdir(out, { recursive: true });
    if ((await readdir(out)).length > 0) {
      throw new CommandFailure(`${out} is not empty`, exitStatus.usage);
    }
    const lock = await lockFolder(dataDir, systemRandom);
    try {
      return await writeAll(dataDir, out);
    } finally {
      await lock.release();
    }
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    if (error instanceof FolderInUse) {
      throw new CommandFailure(error.message, exitStatus.unavailable, { cause: error });
    }
    throw fileFailure(out, error);
  }
}

async function writeAll(dataDir: string, out: string): Promise<SalvageOutcome> {
  const disk = realDisk(dataDir);
  const blobs = await BlobStore.open(disk, "blobs", systemClock);
  const folders = new Map<string, number>();
  let [messages, lost] = [0, 0];
  for await (const message of salvage(disk, "log")) {
    const folder = join(out, ...folderOf(message));
    const number = (folders.get(folder) ?? 0) + 1;
    if (number === 1) {
      for (const part of ["cur", "new", "tmp"])
        await mkdir(join(folder, part), { recursive: true });
    }
    folders.set(folder, number);
    const file = join(folder, "cur", `${fileName(message, number)}`);
    if (await writeMessage(file, message, blobs)) messages++;
    else lost++;
  }
  return { messages, lost, folders: folders.size };
}

/** False when the bytes are lost. */
async function writeMessage(file: string, message: Salvaged, blobs: BlobStore): Promise<boolean> {
  const { body } = message;
  if (body.kind === "lost") return false;
  if (body.kind === "blob" && (await blobs.size(body.id)) === undefined) return false;
  const target = await open(file, "wx", 0o600);
  try {
    if (body.kind === "bytes") await target.writeFile(body.bytes);
    else for await (const piece of blobs.stream(body.id)) await target.writeFile(piece);
    const date = message.internalDateMs / 1000;
    await target.utimes(date, date);
    return true;
  } catch (error) {
    if (isMailError(error, "DAMAGED")) return false;
    throw error;
  } finally {
    await target.close();
  }
}

function folderOf({ account, accountName, mailbox }: Salvaged): readonly string[] {
  const user = accountName !== "" ? accountName : account === undefined ? "" : `account-${account}`;
  if (user === "") return ["unknown-owner"];
  const levels = mailbox === "" ? ["unknown-mailbox"] : mailbox.split(hierarchyDelimiter);
  return [safeName(user), ...levels.map(safeName)];
}

/** A name that is one level of a path, whatever the mailbox was called, and no part of a Maildir. */
export function safeName(name: string): string {
  const plain = name
    .replaceAll(/[^\p{L}\p{M}\p{N}@._+ =-]/gu, percent)
    .replace(/^\./, percent)
    .replace(/^(?=(cur|new|tmp)$)/, "%");
  if (plain === "") return "%";
  if (Buffer.byteLength(plain) <= levelBytesMost) return plain;
  const hash = createHash("sha256").update(name).digest("hex").slice(0, 16);
  return `${Array.from(plain).slice(0, 40).join("")}-${hash}`;
}

function percent(character: string): string {
  return [...Buffer.from(character)]
    .map((byte) => `%${byte.toString(16).padStart(2, "0")}`)
    .join("");
}

function fileName({ flags, internalDateMs }: Salvaged, number: number): string {
  const given = new Set(flags.map((flag) => flag.toLowerCase()));
  const letters = maildirFlags.filter(([flag]) => given.has(flag)).map(([, letter]) => letter);
  const seconds = Math.max(0, Math.floor(internalDateMs / 1000));
  return `${seconds}.${number}.salvaged:2,${letters.join("")}`;
}
