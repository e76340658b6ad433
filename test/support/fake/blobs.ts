// Large bodies of the fake, and the bytes of whatever is to be stored.

import { createHash } from "node:crypto";
import { MailError } from "../../../src/mail/errors.ts";
import type { ShardId } from "../../../src/mail/ids.ts";
import type { BlobRef, MessageSource } from "../../../src/mail/mail-store.ts";
import type { MessageIndex } from "../../../src/mail/message-index.ts";
import { MessageIndexer } from "../../../src/mail/mime/indexer.ts";

export class FakeBlobs {
  readonly #blobs = new Map<string, Uint8Array>();

  async write(
    shard: ShardId,
    id: string,
    chunks: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
  ): Promise<BlobRef> {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) {
      signal.throwIfAborted();
      parts.push(Uint8Array.from(chunk));
    }
    const bytes = Buffer.concat(parts);
    this.#blobs.set(id, bytes);
    const sha256 = createHash("sha256").update(bytes).digest("hex");
    return { shard, id, sizeBytes: bytes.length, sha256 };
  }

  bytesOf(source: MessageSource): Uint8Array {
    const bytes =
      source.kind === "bytes" ? Uint8Array.from(source.bytes) : this.#blobs.get(source.blob.id);
    if (bytes === undefined) throw new MailError({ code: "INVALID", why: "no such blob" });
    return bytes;
  }

  indexOf(source: MessageSource): MessageIndex {
    const indexer = new MessageIndexer();
    indexer.push(Buffer.from(this.bytesOf(source)));
    return indexer.finish();
  }
}
