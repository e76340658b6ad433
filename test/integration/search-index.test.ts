// The search index on a disk: built by its thread, kept over restarts and kill -9, and no loss when its
// files are deleted or damaged.

import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { SearchKey } from "../../src/mail/search-key.ts";
import type { OpenedStore } from "../../src/store/open-store.ts";
import { root, running } from "../support/processes.ts";
import {
  addReader,
  bothWays,
  deliverLarge,
  deliverSome,
  expungeSome,
  openSearchStore,
} from "../support/search-store.ts";

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function freshFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "pabal-search-"));
  folders.push(folder);
  return folder;
}

const keys: readonly SearchKey[] = [
  { kind: "body", text: "보고서" },
  { kind: "body", text: "quarter" },
  { kind: "body", text: "mail77x" },
  { kind: "body", text: "ail1" },
  { kind: "text", text: "number 12" },
  { kind: "header", name: "subject", text: "number 3" },
  { kind: "not", key: { kind: "body", text: "report" } },
];

async function expectSame(opened: OpenedStore): Promise<void> {
  for (const key of keys) {
    const { found, scanned } = await bothWays(opened, key);
    expect(found, JSON.stringify(key)).toEqual(scanned);
  }
}

/** Waits until the background has put as many messages as this into blocks. */
async function indexed(opened: OpenedStore, messages: number): Promise<void> {
  await vi.waitFor(
    () => expect(opened.searchIndex?.figures.messages).toBeGreaterThanOrEqual(messages),
    { timeout: 40_000, interval: 50 },
  );
}

let original: string;
/** 300 messages; all but the last few are indexed. */
beforeAll(async () => {
  const folder = freshFolder();
  const opened = await openSearchStore(folder);
  await addReader(opened);
  await deliverSome(opened, 1, 300);
  await indexed(opened, 200);
  await expungeSome(opened, [5, 6, 77]);
  await expectSame(opened);
  await opened.close();
  // Once more, so that there are tables, too.
  await (await openSearchStore(folder)).close();
  original = folder;
});

/** A copy of that store. */
function filled(): string {
  const folder = freshFolder();
  cpSync(original, folder, { recursive: true });
  return folder;
}

describe("the search index on a disk", () => {
  test("is kept over a restart, and new mail is found", async () => {
    const folder = filled();
    const opened = await openSearchStore(folder);
    await expectSame(opened);
    await deliverSome(opened, 301, 100);
    await indexed(opened, 64);
    expect(opened.searchIndex?.figures.messages).toBeLessThan(250);
    await expectSame(opened);
    await opened.close();
  });

  test("knows large messages, and more text than it takes is looked through", async () => {
    const opened = await openSearchStore(filled());
    const line = "<p>some <b>long</b> text &amp; 긴 글</p>\r\n";
    for (const megabytes of [1, 9]) {
      const text = line.repeat((megabytes * 1024 * 1024) / Buffer.byteLength(line));
      const head = "Subject: large\r\nContent-Type: text/html; charset=utf-8\r\n\r\n";
      await deliverLarge(opened, Buffer.from(`${head}${text}<i>end</i>less${megabytes}\r\n`));
    }
    const before = await bothWays(opened, { kind: "body", text: "endless" });
    expect(before.found).toHaveLength(2);
    await opened.searchIndex?.buildNow();
    for (const text of [
      "endless",
      "endless9",
      "긴 글",
      "long text & 긴",
      "글\n\r\n\nsome",
      "not there",
    ]) {
      const { found, scanned } = await bothWays(opened, { kind: "body", text });
      expect(found, text).toEqual(scanned);
      expect(found.length, text).toBe(text === "endless9" ? 1 : text === "not there" ? 0 : 2);
    }
    await opened.close();
  });

  test("is built anew when its folder was deleted", async () => {
    const folder = filled();
    rmSync(join(folder, "search"), { recursive: true });
    const opened = await openSearchStore(folder);
    await expectSame(opened);
    await indexed(opened, 200);
    await expectSame(opened);
    await opened.close();
  });

  test.each([/^MANIFEST/, /^CURRENT/, /\.log$/, /\.ldb$/, /./])(
    "is right when its files %s hold something else",
    async (name) => {
      const folder = filled();
      const search = join(folder, "search");
      for (const file of readdirSync(search).filter((one) => name.test(one))) {
        const bytes = readFileSync(join(search, file));
        for (let at = 7; at < bytes.length; at += 97) bytes[at] = (bytes[at] ?? 0) ^ 0x55;
        writeFileSync(join(search, file), bytes);
      }
      const opened = await openSearchStore(folder);
      await expectSame(opened);
      await opened.searchIndex?.buildNow();
      await expectSame(opened);
      await opened.close();
    },
  );

  test("is right after kill -9", async () => {
    const folder = freshFolder();
    const first = await openSearchStore(folder);
    await addReader(first);
    await first.close();
    for (const rounds of [12, 5, 23]) {
      await killedAfter(folder, rounds);
      const opened = await openSearchStore(folder);
      await expectSame(opened);
      await opened.close();
    }
    const opened = await openSearchStore(folder);
    await opened.searchIndex?.buildNow();
    await expectSame(opened);
    await opened.close();
  });
});

/** Lets a process change mail for so many rounds, and longer until it has indexed some, then kills it. */
async function killedAfter(folder: string, rounds: number): Promise<void> {
  const script = fileURLToPath(new URL("../support/search-store.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", script, folder], {
    cwd: root,
    stdio: ["pipe", "pipe", "inherit"],
  });
  running.add(child);
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
  });
  let told = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    if (++told >= rounds && !line.includes('"messages":0')) break;
  }
  child.kill("SIGKILL");
  await ended;
  running.delete(child);
  expect(told).toBeGreaterThanOrEqual(rounds);
}
