// Replies of changes as they are kept for retries: everything the reply needs, but for the flags of
// messages that a STORE left as they were. One record per operation, 24 hours.

import { assert, unreachable } from "../lib/assert.ts";
import { mailboxId } from "../mail/ids.ts";
import type { MailboxId } from "../mail/ids.ts";
import type { UidSet } from "../mail/uid-set.ts";
import type { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { readFlagGroups, writeFlagGroups } from "./entry-codec.ts";
import type { FlagGroup } from "./entry-kind.ts";

export type Outcome =
  | { readonly kind: "none" }
  | { readonly kind: "created"; readonly mailbox: MailboxId }
  | {
      readonly kind: "appended";
      readonly mailbox: MailboxId;
      readonly uidValidity: number;
      readonly firstUid: number;
      readonly count: number;
      /** Of the mailbox from which a replaced message went; 0: none was. */
      readonly highestModSeq: number;
    }
  | {
      readonly kind: "stored";
      readonly highestModSeq: number;
      /** Messages that this operation changed, at `highestModSeq`, with the flags they got. */
      readonly groups: readonly FlagGroup[];
      /** Messages that were so already. */
      readonly unchanged: UidSet;
      readonly modified: UidSet;
    }
  | { readonly kind: "expunged"; readonly highestModSeq: number; readonly uids: UidSet }
  | {
      readonly kind: "copied";
      readonly uidValidity: number;
      readonly from: UidSet;
      readonly firstUid: number;
      readonly highestModSeq: number;
    };

const writer = new ByteWriter();

export function encodeOutcome(outcome: Outcome): Buffer {
  writer.reset();
  switch (outcome.kind) {
    case "none":
      writer.u8(0);
      break;
    case "created":
      writer.u8(1);
      writer.varint(outcome.mailbox);
      break;
    case "appended":
      writer.u8(2);
      writer.varints([
        outcome.mailbox,
        outcome.uidValidity,
        outcome.firstUid,
        outcome.count,
        outcome.highestModSeq,
      ]);
      break;
    case "stored":
      writer.u8(3);
      writer.varint(outcome.highestModSeq);
      writeFlagGroups(writer, outcome.groups);
      writer.varints(outcome.unchanged);
      writer.varints(outcome.modified);
      break;
    case "expunged":
      writer.u8(4);
      writer.varint(outcome.highestModSeq);
      writer.varints(outcome.uids);
      break;
    case "copied":
      writer.u8(5);
      writer.varint(outcome.uidValidity);
      writer.varints(outcome.from);
      writer.varint(outcome.firstUid);
      writer.varint(outcome.highestModSeq);
      break;
    default:
      unreachable(outcome);
  }
  return writer.take();
}

export function decodeOutcome(reader: ByteReader): Outcome {
  const kind = reader.u8();
  switch (kind) {
    case 0:
      return { kind: "none" };
    case 1:
      return { kind: "created", mailbox: mailboxId(reader.varint()) };
    case 2: {
      // The fifth is absent in what older versions kept.
      const [mailbox = 0, uidValidity = 0, firstUid = 0, count = 0, highestModSeq = 0] =
        reader.varints();
      const id = mailboxId(mailbox);
      return { kind: "appended", mailbox: id, uidValidity, firstUid, count, highestModSeq };
    }
    case 3:
      return {
        kind: "stored",
        highestModSeq: reader.varint(),
        groups: readFlagGroups(reader),
        unchanged: reader.varints(),
        modified: reader.varints(),
      };
    case 4:
      return { kind: "expunged", highestModSeq: reader.varint(), uids: reader.varints() };
    case 5:
      return {
        kind: "copied",
        uidValidity: reader.varint(),
        from: reader.varints(),
        firstUid: reader.varint(),
        highestModSeq: reader.varint(),
      };
    default:
      assert(false, `outcome kind ${kind} is known`);
  }
}
