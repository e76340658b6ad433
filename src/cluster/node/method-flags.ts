// The call for FLAGS and MODSEQ of many messages on the wire: UIDs and flag lists as runs, MODSEQs as
// steps up and down.

import type { FlagColumns, FlagsRequest } from "../../mail/flag-columns.ts";
import type { ByteWriter } from "../../store/byte-writer.ts";
import {
  asMailboxId,
  decodeUidSet,
  encodeUidSet,
  packed,
  readRuns,
  writeRuns,
} from "./codec-values.ts";
import { asBoolean, asCount, asOptional, malformed } from "./decode.ts";
import type { Method } from "./method.ts";
import { WireReader } from "./wire-reader.ts";

export const flagsMethod: Method<FlagsRequest, FlagColumns> = {
  name: "mail.flags",
  large: true,
  encode: ({ mailbox, uids, changedSince = null, wantModSeqs }) => ({
    args: [mailbox, encodeUidSet(uids), changedSince, wantModSeqs],
  }),
  decode: (args) => {
    const changedSince = asOptional(args[2], "modseq", asCount);
    return {
      mailbox: asMailboxId(args[0]),
      uids: decodeUidSet(args[1]),
      ...(changedSince === undefined ? {} : { changedSince }),
      wantModSeqs: asBoolean(args[3], "modseqs"),
    };
  },
  encodeReply: (columns) => ({ head: null, body: packed((out) => writeColumns(out, columns)) }),
  decodeReply: ({ body }) => {
    const reader = new WireReader(body);
    const columns = readColumns(reader);
    reader.end();
    return columns;
  },
};

function writeColumns(out: ByteWriter, { uids, lists, which, modSeqs }: FlagColumns): void {
  writeRuns(out, uids);
  out.varint(lists.length);
  for (const flags of lists) {
    out.varint(flags.length);
    for (const flag of flags) out.text(flag);
  }
  for (let at = 0; at < which.length; ) {
    const from = at;
    const list = which[at] ?? 0;
    while (at < which.length && which[at] === list) at++;
    out.varint(list);
    out.varint(at - from);
  }
  out.varint(modSeqs.length);
  let before = 0;
  for (let at = 0; at < modSeqs.length; at++) {
    const modSeq = modSeqs[at] ?? 0;
    const step = modSeq - before;
    out.varint(step < 0 ? -2 * step - 1 : 2 * step);
    before = modSeq;
  }
}

function readColumns(reader: WireReader): FlagColumns {
  const uids = readRuns(reader);
  const count = uids.length;
  const lists = Array.from({ length: reader.count() }, () =>
    Array.from({ length: reader.count() }, () => reader.text()),
  );
  const which = new Uint32Array(count);
  for (let at = 0; at < count; ) {
    const list = reader.varint();
    const behind = at + reader.varint();
    if (list >= lists.length || behind > count || behind === at) throw malformed("flags");
    which.fill(list, at, behind);
    at = behind;
  }
  const modSeqs = new Float64Array(asCount(reader.varint(), "modseqs", count));
  if (modSeqs.length > 0 && modSeqs.length !== count) throw malformed("modseqs");
  let modSeq = 0;
  for (let at = 0; at < modSeqs.length; at++) {
    const step = reader.varint();
    modSeq += step % 2 === 0 ? step / 2 : -(step + 1) / 2;
    modSeqs[at] = modSeq;
  }
  return { uids, lists, which, modSeqs };
}
