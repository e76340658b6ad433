// Mail out of segments alone (`pabal salvage`), when index and peer are lost. What it yields goes into
// new mailboxes with new UIDs, as after the first garbage collection old entries are gone: messages
// may be without flags, come back after an expunge, or have no known owner.

import { MailError } from "../mail/errors.ts";
import type { AccountId } from "../mail/ids.ts";
import type { Disk } from "../lib/disk.ts";
import { bodyTag } from "./apply-rows.ts";
import { decodePayload } from "./entry-codec.ts";
import type { BodyPart, MessageRow } from "./entry-kind.ts";
import type { Location } from "./journal.ts";
import { headerBytes, opIdAt, recordType } from "./log/record.ts";
import {
  decodeSegmentHeader,
  findGroup,
  segmentHeaderBytes,
  segmentOfName,
  segmentPath,
  walkSegment,
} from "./log/segment-file.ts";
import type { WalkedRecord } from "./log/segment-file.ts";
import { SegmentReader } from "./log/segment-reader.ts";
import { SalvageState, bodyName } from "./salvage-state.ts";
import type { SalvagedMailbox } from "./salvage-state.ts";

export interface Salvaged {
  /** Undefined, and empty names, when the log no longer says whose it was. */
  readonly account: AccountId | undefined;
  readonly accountName: string;
  readonly mailbox: string;
  readonly flags: readonly string[];
  readonly internalDateMs: number;
  readonly internalDateZone: number;
  readonly body:
    | { readonly kind: "bytes"; readonly bytes: Uint8Array }
    | { readonly kind: "blob"; readonly id: string }
    /** The message was there, its bytes can't be read. */
    | { readonly kind: "lost" };
}

/** Every message that the segments in `folder` still hold, by account and mailbox, then those without an owner. */
export async function* salvage(disk: Disk, folder: string): AsyncGenerator<Salvaged> {
  const state = new SalvageState();
  const locations = new Map<string, Location>();
  const segments = (await disk.list(folder)).map(segmentOfName);
  for (const segment of segments.filter((each) => each !== undefined)) {
    await readSegment(disk, folder, segment, state, locations);
  }
  const reader = new SegmentReader(disk, folder);
  const owned = new Set<string>();
  for (const [account, { name, mailboxes }] of state.accounts) {
    for (const mailbox of mailboxes.values()) {
      for (const row of mailbox.messages.values()) {
        const found = bodyName(row.bodyTag, row.bodyLsn);
        owned.add(found);
        owned.add(entryName(row));
        const body = await bodyOf(reader, locations.get(entryName(row)), state.parts.get(found));
        yield { account, accountName: name, ...aboutMessage(mailbox, row), body };
      }
    }
  }
  const nobody = { account: undefined, accountName: "", mailbox: "", flags: [] };
  for (const [name, location] of locations) {
    if (owned.has(name) || state.parts.has(name)) continue;
    const body = await bodyOf(reader, location, undefined);
    yield { ...nobody, internalDateMs: 0, internalDateZone: 0, body };
  }
  await reader.close();
}

function aboutMessage(
  mailbox: SalvagedMailbox,
  row: MessageRow,
): Pick<Salvaged, "mailbox" | "flags" | "internalDateMs" | "internalDateZone"> {
  return {
    mailbox: mailbox.name,
    flags: mailbox.keywords.list(row.flags),
    internalDateMs: row.date * 1000,
    internalDateZone: row.zone,
  };
}

/** Bodies lie by entry: part 0 stands for all of an entry's. */
function entryName(row: MessageRow): string {
  return bodyName(bodyTag(row.bodyTag >>> 16, 0), row.bodyLsn);
}

async function readSegment(
  disk: Disk,
  folder: string,
  segment: number,
  state: SalvageState,
  locations: Map<string, Location>,
): Promise<void> {
  const file = await disk.open(segmentPath(folder, segment), "read");
  try {
    const header = decodeSegmentHeader(await file.read(0, segmentHeaderBytes));
    let from = segmentHeaderBytes;
    for (;;) {
      const stop = await walkSegment(file, from, false, (record) => {
        noteRecord(segment, record, state, locations);
      });
      if (stop.kind === "end") return;
      // A bad record: behind it if its length can be trusted, else at the next group.
      const next =
        stop.header !== undefined
          ? stop.offset + stop.header.length
          : header && (await findGroup(file, segment, header.salt, stop.offset + 1));
      if (next === undefined || next >= (await file.size())) return;
      from = next;
    }
  } finally {
    await file.close();
  }
}

function noteRecord(
  segment: number,
  { header, buffer, at, offset }: WalkedRecord,
  state: SalvageState,
  locations: Map<string, Location>,
): void {
  if (header.type !== recordType.entry && header.type !== recordType.body) return;
  const headEnd = headerBytes + header.headLength;
  const location = {
    segment,
    offset,
    bodyOffset: offset + headEnd,
    bodyBytes: header.length - headEnd,
  };
  const { shard, lsn, epoch, kind } = header;
  if (location.bodyBytes > 0) locations.set(bodyName(bodyTag(shard, 0), lsn), location);
  if (header.type === recordType.body) return;
  // The buffer is only good until the next record.
  const head = Uint8Array.from(buffer.subarray(at + headerBytes, at + headEnd));
  const payload = decodePayload(kind, head);
  if (payload === undefined) return;
  state.apply({ shard, lsn, epoch, opId: opIdAt(buffer, at), kind, head, location }, payload);
}

async function bodyOf(
  reader: SegmentReader,
  location: Location | undefined,
  part: BodyPart | undefined,
): Promise<Salvaged["body"]> {
  if (part?.kind === "blob") return { kind: "blob", id: part.id };
  if (location === undefined) return { kind: "lost" };
  try {
    const whole = await reader.read(location);
    const bytes =
      part === undefined ? whole : whole.subarray(part.offset, part.offset + part.length);
    return { kind: "bytes", bytes };
  } catch (error) {
    if (error instanceof MailError) return { kind: "lost" };
    throw error;
  }
}
