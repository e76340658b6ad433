// One figure of a member's /metrics.

/** Sum of a member's metric over all samples, or those with this label. */
export async function metric(http: number, name: string, label = ""): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${http}/metrics`, {
    signal: AbortSignal.timeout(5000),
  });
  const lines = (await answer.text())
    .split("\n")
    .filter((line) => /^[^{ ]*/.exec(line)?.[0] === name && line.includes(label));
  return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}
