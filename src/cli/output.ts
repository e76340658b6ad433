// What commands print: JSON with --json, else lines for people. Nothing else writes to stdout.

export interface OutputOptions {
  readonly json?: boolean;
}

/** Prints `value` as JSON, or the lines that `text` gives. */
export function print(options: OutputOptions, value: unknown, text: () => readonly string[]): void {
  const output = options.json === true ? JSON.stringify(value, undefined, 2) : text().join("\n");
  process.stdout.write(`${output}\n`);
}

/** Columns padded to their widest cell, two spaces apart; the first row is the heading. */
export function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
