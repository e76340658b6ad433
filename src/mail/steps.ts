// Long computations in steps, so that whoever runs them can let others have their turn between two.
// How long a turn is, is the caller's business.

/** Yields now and then; returns the result. */
export type Steps<T> = Generator<undefined, T, undefined>;

/** So many small things are done between two yields. */
export const stepSize = 2048;

/** The result at once, for small work. */
export function finish<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** Sorts values in steps: pieces, which are then merged. Equal values keep their order. */
export function* sortSteps(
  values: Uint32Array,
  compare: (a: number, b: number) => number,
): Steps<Uint32Array> {
  const count = values.length;
  let sorted = values.slice();
  for (let from = 0; from < count; from += stepSize) {
    sorted.subarray(from, from + stepSize).sort(compare);
    yield;
  }
  let merged = new Uint32Array(count);
  for (let width = stepSize; width < count; width *= 2) {
    for (let from = 0; from < count; from += 2 * width) {
      const middle = Math.min(from + width, count);
      const end = Math.min(from + 2 * width, count);
      let left = from;
      let right = middle;
      for (let to = from; to < end; to++) {
        const takesLeft =
          left < middle && (right === end || compare(sorted[left] ?? 0, sorted[right] ?? 0) <= 0);
        merged[to] = (takesLeft ? sorted[left++] : sorted[right++]) ?? 0;
        if ((to & (stepSize - 1)) === 0) yield;
      }
    }
    [sorted, merged] = [merged, sorted];
  }
  return sorted;
}
