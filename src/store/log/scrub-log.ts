// Reads the log's older segments through, record by record, and names what is damaged in them. Whose
// bodies lie there is the engine's knowledge; what recovery needs is checked at each start.

import type { Disk } from "../../lib/disk.ts";
import { errorCode } from "../../lib/real-disk.ts";
import {
  decodeSegmentHeader,
  findGroup,
  segmentHeaderBytes,
  segmentOfName,
  segmentPath,
  walkSegment,
} from "./segment-file.ts";
import type { Position } from "./types.ts";

/** Records that can't be read, in segments before `end`; `pace` hears of the bytes that were. */
export async function* scrubSegments(
  disk: Disk,
  folder: string,
  end: () => Position,
  pace: (bytes: number) => Promise<void>,
): AsyncGenerator<Position> {
  for (const name of await disk.list(folder)) {
    const segment = segmentOfName(name);
    if (segment === undefined || segment >= end().segment) continue;
    try {
      yield* scrubSegment(disk, folder, segment, pace);
    } catch (error) {
      if (errorCode(error) !== "ENOENT") throw error; // Rewritten meanwhile.
    }
  }
}

async function* scrubSegment(
  disk: Disk,
  folder: string,
  segment: number,
  pace: (bytes: number) => Promise<void>,
): AsyncGenerator<Position> {
  const file = await disk.open(segmentPath(folder, segment), "read");
  try {
    const size = await file.size();
    const header = decodeSegmentHeader(await file.read(0, segmentHeaderBytes));
    if (header === undefined) yield { segment, offset: 0 };
    let passed = segmentHeaderBytes;
    for (let next = segmentHeaderBytes; next < size; ) {
      const stop = await walkSegment(file, next, false, ({ offset }) => {
        if (offset - passed < paceBytes) return undefined;
        const bytes = offset - passed;
        passed = offset;
        return pace(bytes);
      });
      if (stop.kind === "end") return;
      yield { segment, offset: stop.offset };
      const behind = stop.offset + (stop.header?.length ?? 1);
      const group =
        stop.header !== undefined || header === undefined
          ? undefined
          : await findGroup(file, segment, header.salt, stop.offset + 1);
      if (stop.header === undefined && group === undefined) return;
      next = group ?? behind;
    }
  } finally {
    await file.close();
  }
}

const paceBytes = 1_048_576;
