// Reads a configuration file once into a frozen Config. Every mistake is reported at once, each with
// file:line:column and, for an unknown key, the key that was probably meant.

import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { LineCounter, parseDocument, type Document } from "yaml";
import { z } from "zod";
import { type Config, configSchema } from "./schema.ts";
import { suggest } from "./suggest.ts";

/** One mistake, ready to print: `file:line:column: what is wrong`. */
export interface ConfigProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** The configuration can't be used; `problems` has at least one entry. */
export class ConfigError extends Error {
  readonly problems: readonly ConfigProblem[];
  constructor(problems: readonly ConfigProblem[]) {
    super(problems.map((p) => `${p.file}:${p.line}:${p.column}: ${p.message}`).join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}

interface Issue {
  readonly code: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly keys?: readonly string[];
}

/**
 * Loads and checks a file. Relative paths inside it count from the file's folder.
 * @throws {ConfigError} when it can't be read, parsed or does not fit the schema.
 */
export function loadConfig(file: string): Config {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ConfigError([{ file, line: 1, column: 1, message: `can't be read: ${why}` }]);
  }
  return parseConfig(text, file);
}

/** As loadConfig, for text that is in memory already; `file` names it in errors. */
export function parseConfig(text: string, file: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const at = (offset: number, message: string): ConfigProblem => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col), message };
  };
  if (document.errors.length > 0) {
    throw new ConfigError(
      document.errors.map((e) => at(e.pos[0], e.message.split("\n")[0] ?? e.message)),
    );
  }
  const problems: ConfigProblem[] = [];
  const values = expand(
    document.toJS() ?? {},
    [],
    (path, message) => {
      problems.push(at(offsetOf(document, path), message));
    },
    dirname(resolve(file)),
  );
  if (problems.length > 0) throw new ConfigError(problems);
  const result = configSchema.safeParse(values);
  if (!result.success) {
    throw new ConfigError(result.error.issues.flatMap((issue) => explain(issue, document, at)));
  }
  return deepFreeze(withAbsolutePaths(result.data, dirname(resolve(file))));
}

function explain(
  issue: Issue,
  document: Document,
  at: (offset: number, message: string) => ConfigProblem,
): ConfigProblem[] {
  const name = issue.path.map(String).join(".");
  if (issue.code === "unrecognized_keys") {
    return (issue.keys ?? []).map((key) => {
      const hint = suggest(key, knownKeys(issue.path));
      const message = `unknown key "${name === "" ? key : `${name}.${key}`}"${hint === undefined ? "" : `; did you mean "${hint}"?`}`;
      return at(offsetOf(document, [...issue.path, key], true), message);
    });
  }
  const missing = issue.code !== "custom" && !document.hasIn(issue.path.map(String));
  const message = missing
    ? `"${name}" is missing`
    : `"${name}": ${issue.message.replace(/^Invalid input: /, "")}`;
  return [at(offsetOf(document, issue.path), message)];
}

/** Offset of the value at `path` (or its key), or of the nearest ancestor that exists. */
function offsetOf(document: Document, path: readonly PropertyKey[], ofKey = false): number {
  for (let depth = path.length; depth > 0; depth--) {
    const parent: unknown =
      depth === 1 ? document.contents : document.getIn(path.slice(0, depth - 1), true);
    const key = path[depth - 1];
    const pair = pairsOf(parent).find((candidate) => keyText(candidate.key) === String(key));
    const range =
      pair === undefined
        ? undefined
        : ofKey && depth === path.length
          ? rangeOf(pair.key)
          : (rangeOf(pair.value) ?? rangeOf(pair.key));
    if (range !== undefined) return range;
    const item = document.getIn(path.slice(0, depth), true);
    const itemRange = rangeOf(item);
    if (itemRange !== undefined) return itemRange;
  }
  return 0;
}

function pairsOf(node: unknown): readonly { readonly key: unknown; readonly value: unknown }[] {
  if (typeof node !== "object" || node === null || !("items" in node) || !Array.isArray(node.items))
    return [];
  return node.items.filter(
    (item: unknown): item is { key: unknown; value: unknown } =>
      typeof item === "object" && item !== null && "key" in item && "value" in item,
  );
}

function keyText(key: unknown): string {
  return typeof key === "object" && key !== null && "value" in key
    ? String(key.value)
    : String(key);
}

function rangeOf(node: unknown): number | undefined {
  if (typeof node !== "object" || node === null || !("range" in node) || !Array.isArray(node.range))
    return undefined;
  const start: unknown = node.range[0];
  return typeof start === "number" ? start : undefined;
}

/** Names of the keys that the schema knows below `path`. */
function knownKeys(path: readonly PropertyKey[]): readonly string[] {
  let shape: unknown = configSchema;
  for (const step of path) shape = fieldOf(shape, String(step));
  return Object.keys(shapeOf(shape));
}

function fieldOf(schema: unknown, key: string): unknown {
  const shape = shapeOf(schema);
  return Object.hasOwn(shape, key) ? shape[key] : undefined;
}

function shapeOf(schema: unknown): Record<string, unknown> {
  let inner = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodPrefault) inner = inner.unwrap();
  return inner instanceof z.ZodObject ? inner.shape : {};
}

/** Replaces `${file:…}` and `${env:…}` that stand for a whole value. */
function expand(
  value: unknown,
  path: readonly PropertyKey[],
  problem: (path: readonly PropertyKey[], message: string) => void,
  folder: string,
): unknown {
  if (Array.isArray(value))
    return value.map((item, index) => expand(item, [...path, index], problem, folder));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        key,
        expand(item, [...path, key], problem, folder),
      ]),
    );
  }
  if (typeof value !== "string") return value;
  const reference = /^\$\{(file|env):([^}]+)\}$/.exec(value);
  if (reference === null) return value;
  const [, kind, name = ""] = reference;
  if (kind === "env") {
    const found = process.env[name];
    if (found === undefined) problem(path, `environment variable ${name} is not set`);
    return found;
  }
  try {
    return readFileSync(resolve(folder, name), "utf8").trim();
  } catch (error) {
    problem(path, `can't read ${name}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

function withAbsolutePaths(config: Config, folder: string): Config {
  const full = (path: string): string => resolve(folder, path);
  const optional = (path: string | undefined): string | undefined =>
    path === undefined ? undefined : full(path);
  const { ca, cert, key } = config.cluster.link;
  const etcd = config.cluster.coordinator;
  return {
    ...config,
    member: { ...config.member, dataDir: full(config.member.dataDir) },
    cluster: {
      ...config.cluster,
      coordinator: {
        ...etcd,
        ca: optional(etcd.ca),
        cert: optional(etcd.cert),
        key: optional(etcd.key),
        passwordFile: optional(etcd.passwordFile),
      },
      link: { ...config.cluster.link, ca: optional(ca), cert: optional(cert), key: optional(key) },
    },
    tls:
      config.tls === undefined
        ? undefined
        : { cert: full(config.tls.cert), key: full(config.tls.key) },
    admin: { ...config.admin, tokenFile: optional(config.admin.tokenFile) },
  };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null) {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}
