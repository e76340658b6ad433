// Calls about annotations on the wire (RFC 5464): values are bytes, so they go into the body.

import type { AnnotateRequest, MailboxAnnotations } from "../../mail/mail-store.ts";
import { packed } from "./codec-values.ts";
import { asOptional, asText } from "./decode.ts";
import { decodeChange, encodeChange, noResult } from "./method.ts";
import type { Method } from "./method.ts";
import { WireReader } from "./wire-reader.ts";

export const annotationsMethod: Method<
  { readonly mailbox: string | undefined },
  readonly MailboxAnnotations[]
> = {
  name: "mail.annotations",
  large: true,
  encode: ({ mailbox }) => ({ args: [mailbox ?? null] }),
  decode: (args) => ({ mailbox: asOptional(args[0], "mailbox", asText) }),
  encodeReply: (all) => ({
    head: null,
    body: packed((out) => {
      out.varint(all.length);
      for (const { mailbox, annotations } of all) {
        out.text(mailbox);
        out.varint(annotations.length);
        for (const { entry, value } of annotations) {
          out.text(entry);
          out.bytes(value);
        }
      }
    }),
  }),
  decodeReply: ({ body }) => {
    const reader = new WireReader(body);
    const all = Array.from({ length: reader.count() }, () => {
      const mailbox = reader.text();
      const annotations = Array.from({ length: reader.count() }, () => {
        const entry = reader.text();
        return { entry, value: Uint8Array.from(reader.bytes()) };
      });
      return { mailbox, annotations };
    });
    reader.end();
    return all;
  },
};

export const annotateMethod: Method<AnnotateRequest, void> = {
  name: "mail.annotate",
  large: false,
  encode: (request) => ({
    args: [...encodeChange(request), request.mailbox],
    body: packed((out) => {
      out.varint(request.entries.length);
      for (const { entry, value } of request.entries) {
        out.text(entry);
        out.varint(value === undefined ? 0 : 1);
        if (value !== undefined) out.bytes(value);
      }
    }),
  }),
  decode: (args, body) => {
    const reader = new WireReader(body);
    const entries = Array.from({ length: reader.count() }, () => {
      const entry = reader.text();
      return { entry, value: reader.varint() === 0 ? undefined : Uint8Array.from(reader.bytes()) };
    });
    reader.end();
    return { mailbox: asText(args[2], "mailbox"), entries, ...decodeChange(args) };
  },
  ...noResult,
};
