// Looks at everything that an IMAP server said, for fuzzing.

/** Lines outside literals that are no response. */
export function badLines(output: string): readonly string[] {
  const bad: string[] = [];
  let rest = output;
  while (rest !== "") {
    const end = rest.indexOf("\r\n");
    if (end < 0) return [...bad, rest];
    let line = rest.slice(0, end);
    rest = rest.slice(end + 2);
    for (;;) {
      const literal = /\{(\d+)\}$/.exec(line);
      if (literal === null || line.startsWith("+")) break;
      rest = rest.slice(Number(literal[1]));
      const next = rest.indexOf("\r\n");
      line = `* ${rest.slice(0, next)}`;
      rest = rest.slice(next + 2);
    }
    if (!/^(\*|\+|[!-~]+ (OK|NO|BAD)) ?[^\r\n\0]*$/.test(line)) bad.push(line);
  }
  return bad;
}
