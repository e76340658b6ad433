// Sections of large messages, which lie in blob files: streamed in pieces, never whole in memory
// unless a value has to be worked out from them (a header, or a part to decode).

import type { FetchChunk, FetchSection } from "../mail/mail-store.ts";
import type { Body } from "./bodies.ts";
import type { ChunkWriter } from "./chunk-writer.ts";
import type { Engine } from "./engine.ts";
import { cutRange, planSection, writeLiteralHead, writeSection } from "./sections.ts";
import { readParts } from "./static-row.ts";
import type { StaticRow } from "./static-row.ts";

const pieceBytes = 128 * 1024;

/** Writes the sections of a message in a blob; yields chunks as they fill. */
export async function* streamBlobSections(
  engine: Engine,
  out: ChunkWriter,
  sections: readonly FetchSection[],
  body: Extract<Body, { kind: "blob" }>,
  fixed: StaticRow | undefined,
  signal: AbortSignal,
): AsyncGenerator<FetchChunk> {
  const root = fixed === undefined ? undefined : readParts(fixed.parts);
  for (const section of sections) {
    const plan = planSection(section, body.length, root);
    if (plan.range === undefined || plan.derived) {
      const { start, end } = plan.range ?? { start: 0, end: 0 };
      const bytes = await engine.bodies.readBlob(body.id, start, end - start);
      writeSection(out, section, plan, () => bytes);
      continue;
    }
    const { start, end } = cutRange(plan.range, section);
    writeLiteralHead(out, section, end - start);
    for (let at = start; at < end; at += pieceBytes) {
      signal.throwIfAborted();
      out.bytes(await engine.bodies.readBlob(body.id, at, Math.min(pieceBytes, end - at)));
      yield* out.ready();
    }
  }
}
