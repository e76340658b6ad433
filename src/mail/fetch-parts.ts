// A FETCH answer as an object per message, for those who ask for few; and chunks made from such.

import { uid as asUid } from "./ids.ts";
import type { Uid } from "./ids.ts";
import type { FetchChunk } from "./fetch.ts";

/** One message of a chunk, or a piece of it. */
export interface FetchPart {
  readonly uid: Uid;
  /** A view of the chunk's bytes. */
  readonly bytes: Uint8Array;
  /** True when the message's next bytes come in the next chunk. */
  readonly more: boolean;
  /** As in the chunk. */
  readonly sectionsAt?: number;
}

export function partsOf(chunk: FetchChunk): FetchPart[] {
  const { uids, ends, bytes, sectionsAt } = chunk;
  const parts: FetchPart[] = [];
  for (let i = 0; i < uids.length; i++) {
    const part = {
      uid: asUid(uids[i] ?? 0),
      bytes: bytes.subarray(i === 0 ? 0 : ends[i - 1], ends[i]),
      more: chunk.more && i === uids.length - 1,
    };
    parts.push(part.more && sectionsAt !== undefined ? { sectionsAt, ...part } : part);
  }
  return parts;
}

/** A chunk of parts in their order. Pieces of one message become one; only the last may have `more` to come. */
export function chunkOf(parts: readonly FetchPart[]): FetchChunk {
  const [only] = parts;
  const uids: number[] = [];
  const ends: number[] = [];
  let end = 0;
  let sectionsAt: number | undefined;
  let begin = 0;
  for (const part of parts) {
    if (uids.at(-1) !== part.uid) {
      uids.push(part.uid);
      ends.push(end);
      begin = end;
      sectionsAt = undefined;
    }
    if (part.sectionsAt !== undefined) sectionsAt = end - begin + part.sectionsAt;
    end += part.bytes.byteLength;
    ends[ends.length - 1] = end;
  }
  const more = parts.at(-1)?.more ?? false;
  return {
    uids: Uint32Array.from(uids),
    ends: Uint32Array.from(ends),
    bytes:
      parts.length === 1 && only !== undefined
        ? only.bytes
        : Buffer.concat(parts.map(({ bytes }) => bytes)),
    more,
    ...(more && sectionsAt !== undefined ? { sectionsAt } : {}),
  };
}

/** Chunks that follow one another as one. */
export function joinedChunks(chunks: readonly FetchChunk[]): FetchChunk {
  const [only] = chunks;
  return chunks.length === 1 && only !== undefined ? only : chunkOf(chunks.flatMap(partsOf));
}
