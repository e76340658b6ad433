#!/usr/bin/env node
// The program `pabal`: hands its command line to cli/program.ts.

import "./lib/plain-globals.ts";
import { runProgram } from "./cli/program.ts";
import { programVersion } from "./cli/version.ts";

await runProgram(process.argv, programVersion());
