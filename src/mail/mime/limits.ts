// Bounds of the MIME index. They keep one message's index below 512 KiB and its making linear,
// whatever was sent; what lies beyond them is stored and served as it is, only not indexed.

export const mimeLimits = {
  /** Header bytes looked at, summed over all parts of one message. */
  headerBytesMax: 256 * 1024,
  /** Multiparts and embedded messages inside one another; a deeper one is a leaf. */
  depthMax: 100,
  /** Parts and embedded messages; the last one is a leaf that holds the rest. */
  partCountMax: 1000,
  /** Addresses rendered into ENVELOPEs, summed over all embedded messages. */
  addressCountMax: 1000,
  /** Parameters of Content-Type and Content-Disposition, summed over all parts. */
  parameterCountMax: 1000,
  /** RFC 2046 §5.1.1 allows 70; longer ones are seen in the wild. */
  boundaryBytesMax: 1024,
  /** A longer line is no delimiter: `--`, boundary, `--`, blanks. */
  delimiterLineBytesMax: 1280,
  /** A longer From list is not repeated as Sender and Reply-To. */
  repeatedAddressBytesMax: 32 * 1024,
} as const;

/** What is left of the limits while one message is indexed. */
export interface MimeBudget {
  headerBytes: number;
  parts: number;
  addresses: number;
  parameters: number;
}

/** A full budget for one message. */
export function mimeBudget(): MimeBudget {
  return {
    headerBytes: mimeLimits.headerBytesMax,
    parts: mimeLimits.partCountMax,
    addresses: mimeLimits.addressCountMax,
    parameters: mimeLimits.parameterCountMax,
  };
}
