// Threads as THREAD answers them, `(2)(3 6 (4 23)(44 7 96))`, from the flat list; without recursion,
// as threads may be as deep as the mailbox is long. RFC 5256 §4 (THREAD response)

/**
 * @param numbers Of messages; 0: a parent that isn't there, which only its parentheses show.
 * @param depths As in Threads.
 */
export function threadText(numbers: ArrayLike<number>, depths: ArrayLike<number>): string {
  const counts = childCounts(depths);
  let text = "";
  /** Of the nodes above: whether they have a parenthesis that is still open. */
  const open: boolean[] = [];
  let isBehindNumber = false;
  for (let at = 0; at < numbers.length; at++) {
    const depth = depths[at] ?? 0;
    while (open.length > depth) {
      if (open.pop() !== true) continue;
      text += ")";
      isBehindNumber = false;
    }
    const number = numbers[at] ?? 0;
    // A parent that isn't there and has no children is nothing.
    if (number === 0 && counts.own[at] === 0) {
      open.push(false);
      continue;
    }
    const isAlone = depth > 0 && counts.ofParent[at] === 1;
    if (isBehindNumber) text += " ";
    if (!isAlone) text += "(";
    open.push(!isAlone);
    if (number > 0) text += String(number);
    isBehindNumber = number > 0;
  }
  while (open.length > 0) if (open.pop() === true) text += ")";
  return text;
}

/** How many children each node has, and its parent. */
function childCounts(depths: ArrayLike<number>): {
  readonly own: Uint32Array;
  readonly ofParent: Uint32Array;
} {
  const own = new Uint32Array(depths.length);
  const parents = new Int32Array(depths.length).fill(-1);
  const path: number[] = [];
  for (let at = 0; at < depths.length; at++) {
    path.length = depths[at] ?? 0;
    const parent = path.at(-1);
    if (parent !== undefined) {
      parents[at] = parent;
      own[parent] = (own[parent] ?? 0) + 1;
    }
    path.push(at);
  }
  return { own, ofParent: Uint32Array.from(parents, (parent) => own[parent] ?? 0) };
}
