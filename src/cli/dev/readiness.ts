// Waiting until members of a development cluster say that they serve.

import { setTimeout as wait } from "node:timers/promises";

/** The cluster did not come up; the message names the members and what they miss. */
export class NotReady extends Error {
  override readonly name = "NotReady";
}

/**
 * Resolves once each `http` port answers /readyz with 200. @throws NotReady after `limitMs`, or when
 * `giveUp` says why waiting is useless (a member that ended at once).
 */
export async function waitUntilReady(
  members: readonly { readonly id: string; readonly http: number }[],
  limitMs: number,
  giveUp: () => string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const end = performance.now() + limitMs;
  let missing = new Map(members.map((member) => [member.id, "no answer"]));
  for (;;) {
    const answers = await Promise.all(
      members.map(async (member) => [member.id, await ask(member.http)] as const),
    );
    missing = new Map(answers.filter(([, what]) => what !== ""));
    if (missing.size === 0) return;
    const hopeless = giveUp();
    if (hopeless !== undefined) throw new NotReady(hopeless);
    if (performance.now() > end) {
      throw new NotReady(
        `not ready in ${limitMs / 1000} s: ${[...missing].map(([id, what]) => `${id} (${what})`).join(", ")}`,
      );
    }
    await wait(50, undefined, { signal });
  }
}

/** Empty when ready, else what is missing. */
async function ask(port: number): Promise<string> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`, {
      signal: AbortSignal.timeout(1000),
    });
    const body: unknown = await response.json();
    if (response.ok) return "";
    const missing =
      typeof body === "object" && body !== null && "missing" in body && Array.isArray(body.missing)
        ? body.missing
        : [];
    return missing.join(", ") || "not ready";
  } catch {
    return "no answer";
  }
}
