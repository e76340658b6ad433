// Views of bytes as Node Buffers, for their readers and writers of numbers. Copies nothing.

/** The same memory as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes)
    ? bytes
    : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Reads a big-endian number of 8 bytes; the caller knows that it is a safe integer. */
export function readU53(buffer: Buffer, at: number): number {
  return buffer.readUInt32BE(at) * 2 ** 32 + buffer.readUInt32BE(at + 4);
}

/** Writes a safe integer as 8 bytes, big-endian. */
export function writeU53(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  buffer.writeUInt32BE(value % 2 ** 32, at + 4);
}

/** Reads a big-endian number of 6 bytes. */
export function readU48(buffer: Buffer, at: number): number {
  return buffer.readUInt16BE(at) * 2 ** 32 + buffer.readUInt32BE(at + 2);
}

/** Writes an integer below 2^48 as 6 bytes, big-endian. */
export function writeU48(buffer: Buffer, value: number, at: number): void {
  buffer.writeUInt16BE(Math.floor(value / 2 ** 32), at);
  buffer.writeUInt32BE(value % 2 ** 32, at + 2);
}
