// What a reader gets in place of a message whose bytes no copy has unharmed: a notice of the same
// length, so that sizes and offsets that were told before stay true.

const notice = Buffer.from(
  "X-Pabal-Lost: the bytes of this message are damaged on every copy\r\n",
  "latin1",
);

/** `length` bytes of notice, line after line; header and body of a message read alike. */
export function noticeOf(length: number): Uint8Array {
  return Buffer.alloc(length, notice);
}
