// The program's version, from the package it was installed with.

import { readFileSync } from "node:fs";

/** As in package.json; `?` when that can't be read. */
export function programVersion(): string {
  const manifest: unknown = JSON.parse(
    readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
  );
  return typeof manifest === "object" && manifest !== null && "version" in manifest
    ? String(manifest.version)
    : "?";
}
