// What a replica asks of an entry that came from its primary before it acknowledges it: the decoded
// payload, so that apply needn't decode again, and the blobs that must be here, whole and synced.

import { decodePayload } from "./entry-codec.ts";
import type { BodyPart, Payload } from "./entry-kind.ts";

export interface InspectedEntry {
  /** To be handed on as `Entry.payload`; undefined for kinds that are not the engine's. */
  readonly payload: Payload | undefined;
  readonly blobs: readonly Extract<BodyPart, { kind: "blob" }>[];
}

export function inspectEntry(kind: number, head: Uint8Array): InspectedEntry {
  const payload = decodePayload(kind, head);
  return { payload, blobs: partsOf(payload).filter((part) => part.kind === "blob") };
}

function partsOf(payload: Payload | undefined): readonly BodyPart[] {
  if (payload?.kind === "deliver") return [payload.deliver.part];
  return payload?.kind === "change" ? payload.change.parts : [];
}
