// The files by which other programs find a development cluster: the ports file that was asked for
// (--ports-json) and the state file of the last started cluster, which the command line reads.

import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";

/** Content of `--ports-json`. Stable: fields are only ever added. */
export interface PortsFile {
  readonly version: 1;
  readonly domain: string;
  readonly password: string;
  readonly users: readonly string[];
  readonly tls: { readonly ca: string };
  readonly gateways: readonly {
    readonly id: string;
    readonly pid: number;
    readonly smtp: number;
    readonly submission: number;
    readonly submissions: number;
    readonly lmtp: number;
    readonly imap: number;
    readonly imaps: number;
    readonly pop3: number;
    readonly pop3s: number;
    readonly http: number;
  }[];
  readonly nodes: readonly {
    readonly id: string;
    readonly pid: number;
    readonly http: number;
    readonly data: string;
  }[];
  readonly coordinator: { readonly kind: "embedded" | "etcd"; readonly pid: number };
  readonly admin: { readonly url: string; readonly token: string };
}

/** Where the command line finds the admin API of the cluster started last by this user. */
export interface DevState {
  readonly pid: number;
  /** Admin URLs, one a gateway; any live one will do. */
  readonly urls: readonly string[];
  readonly token: string;
}

/** Writes JSON so that a reader sees the old content or the new, never a part. Mode 0600: it holds a token. */
export function writeJsonAtomically(file: string, value: unknown): void {
  const temporary = `${file}.${process.pid}.tmp`;
  writeFileSync(temporary, `${JSON.stringify(value, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(temporary, file);
}

/** `pabal-dev-<uid>.json` in the temporary folder. */
export function devStateFile(): string {
  return join(tmpdir(), `pabal-dev-${userInfo().uid}.json`);
}

/** The state of the cluster started last; undefined when there is none. */
export function readDevState(): DevState | undefined {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(devStateFile(), "utf8"));
  } catch {
    return undefined; // No cluster was started, or its file is not ours to read.
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { pid, urls, token } = value as Partial<Record<keyof DevState, unknown>>;
  if (typeof pid !== "number" || typeof token !== "string" || !Array.isArray(urls))
    return undefined;
  return { pid, token, urls: urls.filter((url): url is string => typeof url === "string") };
}

/** Removes the state file if it is still that of process `pid`. */
export function removeDevState(pid: number): void {
  if (readDevState()?.pid === pid) rmSync(devStateFile(), { force: true });
}
