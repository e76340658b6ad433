// docs/config.md: every configuration key with type, default and meaning, from the JSON Schema that
// the one table of keys gives. Run by `npm run generate`.

import { configJsonSchema } from "../src/cli/config/json-schema.ts";

interface Node {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly unit?: string;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Node[];
  readonly items?: Node;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
}

/** The text of docs/config.md. */
export function configReference(): string {
  const root = configJsonSchema() as Node;
  const sections = sectionsOf("", root);
  return [
    "# Configuration keys",
    "",
    "Made by `npm run generate` from `src/cli/config/schema.ts`; edit that. Examples with comments are in `config/`.",
    "",
    "One YAML file a member, read once at start (`pabal serve --config FILE`). `pabal config check FILE` does what start-up",
    "does; unknown keys, wrong types and missing units are refused with file, line, column and the key that was probably",
    "meant. `pabal config schema` prints a JSON Schema for editors.",
    "",
    "- Durations: `500ms`, `10s`, `5m`, `2h`, `30d`. Sizes: `512B`, `64KiB`, `50MiB`, `2GiB`. Always with a unit.",
    "- Relative paths count from the file's folder.",
    '- A value may be `"${file:PATH}"` (the content of a file, without the end of line) or `"${env:NAME}"`.',
    "",
    ...sections,
  ].join("\n");
}

function sectionsOf(path: string, node: Node): readonly string[] {
  const entries = Object.entries(node.properties ?? {});
  const plain = entries.filter(([, child]) => child.properties === undefined);
  const nested = entries.filter(([, child]) => child.properties !== undefined);
  const heading = path === "" ? "Top level" : `\`${path}\``;
  const about = path === "" || node.description === undefined ? [] : [`${node.description}.`, ""];
  const table =
    plain.length === 0
      ? []
      : [
          "| key | type | default | meaning |",
          "|---|---|---|---|",
          ...plain.map(([key, child]) => row(key, child, node.required ?? [])),
          "",
        ];
  const listeners = nested.filter(([, child]) => isListener(child));
  return [
    ...(plain.length === 0 && listeners.length === 0 && path === ""
      ? []
      : [`## ${heading}`, "", ...about]),
    ...table,
    ...(listeners.length > 0 ? listenerTable(listeners) : []),
    ...nested
      .filter(([, child]) => !isListener(child))
      .flatMap(([key, child]) => sectionsOf(path === "" ? key : `${path}.${key}`, child)),
  ];
}

function row(key: string, node: Node, required: readonly string[]): string {
  const given =
    node.default !== undefined
      ? `\`${typeof node.default === "string" ? node.default : JSON.stringify(node.default)}\``
      : required.includes(key)
        ? "**required**"
        : "";
  return `| \`${key}\` | ${typeOf(node)} | ${given} | ${cell(node.description ?? "")} |`;
}

function typeOf(node: Node): string {
  if (node.unit !== undefined) return node.unit;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${String(value)}\``).join(", ");
  if (node.const !== undefined) return `\`${JSON.stringify(node.const).replaceAll('"', "")}\``;
  if (node.anyOf !== undefined) return node.anyOf.map(typeOf).join(", ");
  if (node.type === "array") return `list of ${typeOf(node.items ?? {})}s`;
  if (node.type === "integer") return rangeOf(node);
  if (node.type === "boolean") return "true or false";
  return node.type === "string" ? "text" : (node.type ?? "");
}

function rangeOf({ minimum, maximum }: Node): string {
  if (minimum === undefined) return "number";
  return maximum === undefined ? `number from ${minimum}` : `${minimum} to ${maximum}`;
}

/** All listeners have the same keys: one table of them, one of their keys. */
function isListener({ properties }: Node): boolean {
  return properties?.port !== undefined && properties.advertise !== undefined;
}

function listenerTable(listeners: readonly (readonly [string, Node])[]): readonly string[] {
  const [first] = listeners;
  const shape = first?.[1] ?? {};
  return [
    "| key | meaning |",
    "|---|---|",
    ...listeners.map(([key, { description }]) => `| \`${key}\` | ${cell(description ?? "")} |`),
    "",
    "Each of them has:",
    "",
    "| key | type | default | meaning |",
    "|---|---|---|---|",
    ...Object.entries(shape.properties ?? {}).map(([key, child]) => {
      const without = listeners.filter(([, other]) => other.properties?.[key] === undefined);
      const names = without.map(([name]) => `\`${name}\``).join(", ");
      const description = `${child.description ?? ""}${names === "" ? "" : ` (not for ${names})`}`;
      return row(key, { ...child, description }, shape.required ?? []);
    }),
    "",
  ];
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}
