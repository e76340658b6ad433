#!/usr/bin/env node
// The program `pabal`: hands its command line to cli/program.ts.

import { readFileSync } from "node:fs";
import { runProgram } from "./cli/program.ts";

const manifest: unknown = JSON.parse(
  readFileSync(new URL("../package.json", import.meta.url), "utf8"),
);
const version =
  typeof manifest === "object" && manifest !== null && "version" in manifest
    ? String(manifest.version)
    : "?";
await runProgram(process.argv, version);
