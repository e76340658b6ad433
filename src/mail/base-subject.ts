// The base subject of a message: its subject without `Re:`, `Fwd:`, `[list]` and `(fwd)`, by which
// SORT and THREAD compare. Decoding of encoded words and collation are others' business.

export interface BaseSubject {
  readonly text: string;
  /** Something was removed that marks a reply or a forward. RFC 5256 §3 */
  readonly isReply: boolean;
}

const space = 0x20;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const colon = 0x3a;

/**
 * RFC 5256 §2.1, steps 1 to 7; linear in the subject's length.
 * @param subject with its RFC 2047 encoded words decoded.
 */
export function baseSubject(subject: string): BaseSubject {
  const text = subject.replaceAll(/[ \t\r\n]+/g, " "); // Step 1.
  let start = 0;
  let end = text.length;
  let isReply = false;
  for (;;) {
    // Step 2: *subj-trailer.
    for (;;) {
      if (end > start && text.charCodeAt(end - 1) === space) end--;
      else if (wordAt(text, end - 5, start, "(fwd)")) {
        end -= 5;
        isReply = true;
      } else break;
    }
    // Steps 3 to 5: leaders and blobs.
    for (;;) {
      while (start < end && text.charCodeAt(start) === space) start++;
      const { behind, last } = blobsFrom(text, start, end);
      const rest = behindRefwd(text, behind, end);
      if (rest < 0) {
        // Step 4: the last blob stays when nothing would be left.
        start = behind < end ? behind : last;
        break;
      }
      start = rest;
      isReply = true;
    }
    // Step 6: subj-fwd.
    const wrapped = end - start >= 6 && text.charCodeAt(end - 1) === closeBracket;
    if (!wrapped || !wordAt(text, start, start, "[fwd:")) break;
    start += 5;
    end--;
    isReply = true;
  }
  return { text: text.slice(start, end), isReply };
}

/** Whether `word`, in lower case, stands at `at`, not before `start`. */
function wordAt(text: string, at: number, start: number, word: string): boolean {
  return at >= start && text.slice(at, at + word.length).toLowerCase() === word;
}

/** *subj-blob: where the blobs from `at` on end, and where the last of them begins. */
function blobsFrom(text: string, at: number, end: number): { behind: number; last: number } {
  let behind = at;
  let last = at;
  for (;;) {
    const next = behindBlob(text, behind, end);
    if (next < 0) return { behind, last };
    last = behind;
    behind = next;
  }
}

/** subj-blob with the spaces behind it; -1 when there is none at `at`. */
function behindBlob(text: string, at: number, end: number): number {
  if (at >= end || text.charCodeAt(at) !== openBracket) return -1;
  for (let i = at + 1; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code === openBracket) return -1;
    if (code === closeBracket) return behindSpaces(text, i + 1, end);
  }
  return -1;
}

/** subj-refwd: `Re:`, `Fw [blob]:`, `fwd :`; -1 when there is none at `at`. */
function behindRefwd(text: string, at: number, end: number): number {
  const two = text.slice(at, Math.min(end, at + 2)).toLowerCase();
  if (two !== "re" && two !== "fw") return -1;
  let next = at + 2;
  if (two === "fw" && next < end && wordAt(text, next, at, "d")) next++;
  next = behindSpaces(text, next, end);
  const blob = behindBlob(text, next, end);
  if (blob >= 0) next = blob;
  return next < end && text.charCodeAt(next) === colon ? next + 1 : -1;
}

function behindSpaces(text: string, at: number, end: number): number {
  let next = at;
  while (next < end && text.charCodeAt(next) === space) next++;
  return next;
}
