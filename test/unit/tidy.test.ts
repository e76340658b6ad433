// Rules of the house that no other tool checks, and the borders between folders a second time, by
// a plain scan of the imports. Leaves types, lint and format to `npm run check`.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

interface SourceFile {
  /** Relative to the top folder, with slashes. */
  readonly path: string;
  readonly text: string;
}

const root = fileURLToPath(new URL("../..", import.meta.url));
const sources = filesIn("src");
const others = [...filesIn("test"), ...filesIn("scripts")];

const mayImport: Readonly<Record<string, readonly string[]>> = {
  gateway: ["cluster", "mail", "lib"],
  cluster: ["store", "mail", "lib"],
  store: ["mail", "lib"],
  mail: ["lib"],
  lib: [],
};

describe("borders", () => {
  test("a folder imports only the folders below it", () => {
    expect(sources.flatMap(bordersCrossed)).toEqual([]);
  });

  test("cluster/protocol imports no package and runs no neighbour's code", () => {
    const pure = sources.filter(({ path }) => path.startsWith("src/cluster/protocol/"));
    expect(pure.flatMap(impureImports)).toEqual([]);
  });

  test("relative imports end in .ts", () => {
    const wrong = [...sources, ...others].flatMap((file) =>
      importsOf(file)
        .filter(
          ({ specifier }) => /^\.\.?\//.test(specifier) && !/\.(ts|mjs|json)$/.test(specifier),
        )
        .map(({ specifier }) => `${file.path} imports ${specifier}`),
    );
    expect(wrong).toEqual([]);
  });

  test("the scan sees every form of import", () => {
    const text = [
      'import { a } from "./a.ts";',
      'import type { B } from "../b.ts";',
      'import {\n  c,\n  d,\n} from "./c.ts";',
      'export * from "./d.ts";',
      'import "./e.ts";',
      'const f = await import("./f.ts");',
    ].join("\n");
    const found = importsOf({ path: "src/x.ts", text }).map(({ specifier }) => specifier);
    expect(found).toEqual(["./a.ts", "../b.ts", "./c.ts", "./d.ts", "./e.ts", "./f.ts"]);
  });

  test.each([
    ["src/mail/x.ts", "../store/y.ts"],
    ["src/lib/deep/x.ts", "../../mail/y.ts"],
    ["src/store/x.ts", "../cluster/protocol/y.ts"],
    ["src/cluster/node/x.ts", "../../gateway/imap/y.ts"],
    ["src/gateway/imap/x.ts", "../../store/y.ts"],
    ["src/gateway/x.ts", "../cli/y.ts"],
    ["src/lib/x.ts", "../main.ts"],
  ])("%s may not import %s", (path, specifier) => {
    expect(bordersCrossed({ path, text: `import "${specifier}";` })).toHaveLength(1);
  });
});

describe("every source file", () => {
  test("opens with a comment that says what it is for", () => {
    const bare = sources.filter(({ text }) => !/^(#!.*\n)?\s*(\/\/ ?["`\w]|\/\*)/.test(text));
    expect(bare.map(({ path }) => path)).toEqual([]);
  });

  test("names RFC sections in the one form", () => {
    const wrong = [...sources, ...others.filter(({ path }) => path !== "test/unit/tidy.test.ts")];
    expect(wrong.flatMap(badReferences)).toEqual([]);
  });

  test.each([
    ["RFC 9051 §7.5.1: no EXPUNGE", 0],
    ["RFC 5322 bytes, RFC 3501 §A, BODY[] and RFC822.SIZE", 0],
    ["RFC9051 §7.5.1", 1],
    ["RFC-5321 §4", 1],
    ["RFC 9051, section 7.5.1", 1],
    ["RFC 9051 Sec. 7", 1],
    ["RFC 9051§7", 1],
    ["RFC 9051 § 7", 1],
  ])("the check of references on %j finds %i", (text, count) => {
    expect(badReferences({ path: "x", text })).toHaveLength(count);
  });

  test("has no mark for later work and no test left out", () => {
    const mark = new RegExp(
      `(//|^\\s*/?\\*).*\\b(${["TO" + "DO", "FIX" + "ME", "XX" + "X"].join("|")}|${"HA" + "CK"})\\b`,
    );
    const leftOut = /\b(describe|it|test)\.(skip|only|todo)\b/;
    const found = [...sources, ...others].flatMap((file) =>
      linesMatching(file, (line) => mark.test(line) || leftOut.test(line)),
    );
    expect(found).toEqual([]);
  });
});

function bordersCrossed(file: SourceFile): readonly string[] {
  const from = folderOf(file.path);
  const allowed = mayImport[from];
  if (allowed === undefined) return []; // main.ts and cli/ know all.
  return importsOf(file)
    .filter(({ specifier }) => specifier.startsWith("."))
    .map(({ specifier }) => join(dirname(file.path), specifier).replaceAll(sep, "/"))
    .filter((target) => folderOf(target) !== from && !allowed.includes(folderOf(target)))
    .map((target) => `${file.path} imports ${target}`);
}

function impureImports(file: SourceFile): readonly string[] {
  return importsOf(file)
    .filter(({ specifier, typeOnly }) => {
      if (!specifier.startsWith(".")) return true;
      const target = join(dirname(file.path), specifier).replaceAll(sep, "/");
      const below = /^src\/(mail|lib|cluster\/protocol)\//.test(target);
      return !below && !(typeOnly && target.startsWith("src/cluster/"));
    })
    .map(({ specifier }) => `${file.path} imports ${specifier}`);
}

/** The folder below src/, or the file's own name for src/main.ts. */
function folderOf(path: string): string {
  return path.split("/")[1] ?? path;
}

function importsOf({ text }: SourceFile): readonly { specifier: string; typeOnly: boolean }[] {
  const statement =
    /^(?:import|export)\s+(type\s)?(?:[^"';]*?\sfrom\s+)?"([^"]+)"|\bimport\(\s*"([^"]+)"\s*\)/gm;
  return [...text.matchAll(statement)].map(([, type, plain, dynamic]) => ({
    specifier: plain ?? dynamic ?? "",
    typeOnly: type !== undefined,
  }));
}

function badReferences(file: SourceFile): readonly string[] {
  const glued = /\bRFC-?\d+/; // But RFC822, RFC822.SIZE, … are words of IMAP.
  const wordy = /\bRFC \d+,?\s+(section|sec\.?|chapter|§\s)/i;
  const tight = /\bRFC \d+§/;
  return linesMatching(
    file,
    (line) =>
      glued.test(line.replaceAll(/\bRFC822\b/g, "")) || wordy.test(line) || tight.test(line),
  );
}

function linesMatching(
  { path, text }: SourceFile,
  matches: (line: string) => boolean,
): readonly string[] {
  return text
    .split("\n")
    .flatMap((line, index) => (matches(line) ? [`${path}:${index + 1}: ${line.trim()}`] : []));
}

function filesIn(folder: string): readonly SourceFile[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|mjs)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({
      path: relative(root, path).replaceAll(sep, "/"),
      text: readFileSync(path, "utf8"),
    }));
}
