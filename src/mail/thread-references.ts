// THREAD=REFERENCES: trees by References and In-Reply-To, then threads of one subject together.
// RFC 5256 §3 (REFERENCES), steps 1 to 6. Trees may be as deep as the mailbox is long, so nothing
// here is recursive.

import type { Steps } from "./steps.ts";
import { sortSteps, stepSize } from "./steps.ts";
import type { ThreadMessages, Threads } from "./thread-tree.ts";
import { bySentDate } from "./thread-tree.ts";

/**
 * So many steps go into looking for loops at most. Mail that makes deeper trees on purpose loses
 * some links, and no time of others.
 */
const loopStepsMax = 10_000_000;

/** Threads of the messages, each set of siblings by sent date. */
export function* threadsByReferences(messages: ThreadMessages): Steps<Threads> {
  const links = new Links(messages);
  yield* links.linkAll();
  const forest = new Forest(messages, links.parents);
  yield* forest.plant();
  yield* forest.gatherSubjects();
  return yield* forest.flatten();
}

/** Step 1. Nodes below the number of messages are messages, the others dummies. */
class Links {
  readonly #messages: ThreadMessages;
  readonly #count: number;
  /** By node; -1: none. */
  readonly parents: number[] = [];
  readonly #childCounts: number[] = [];
  readonly #nodeOfId = new Map<string, number>();
  #loopSteps = 0;

  constructor(messages: ThreadMessages) {
    this.#messages = messages;
    this.#count = messages.uids.length;
  }

  *linkAll(): Steps<void> {
    for (let node = 0; node < this.#count; node++) {
      this.#addNode();
      const id = this.#messages.ids[node] ?? "";
      // A repeated or missing id counts as a unique one, which nobody refers to.
      if (id !== "" && !this.#nodeOfId.has(id)) this.#nodeOfId.set(id, node);
      if (node % stepSize === 0) yield;
    }
    for (let node = 0; node < this.#count; node++) {
      if (node % (stepSize / 8) === 0) yield;
      // Step 1 A.
      let before = -1;
      for (const id of this.#messages.references[node] ?? []) {
        const named = this.#nodeFor(id);
        if (before >= 0 && (this.parents[named] ?? -1) < 0) this.#link(before, named);
        before = named;
      }
      // Step 1 B: what others said of this message's parent does not count.
      this.#detach(node);
      if (before >= 0) this.#link(before, node);
    }
  }

  #nodeFor(id: string): number {
    const known = this.#nodeOfId.get(id);
    if (known !== undefined) return known;
    const dummy = this.#addNode();
    this.#nodeOfId.set(id, dummy);
    return dummy;
  }

  #addNode(): number {
    this.#childCounts.push(0);
    return this.parents.push(-1) - 1;
  }

  /** Makes the link unless it would be a loop. `child` has no parent. */
  #link(parent: number, child: number): void {
    if (parent === child || this.#isBelow(parent, child)) return;
    this.parents[child] = parent;
    this.#childCounts[parent] = (this.#childCounts[parent] ?? 0) + 1;
  }

  #detach(node: number): void {
    const parent = this.parents[node] ?? -1;
    if (parent < 0) return;
    this.parents[node] = -1;
    this.#childCounts[parent] = (this.#childCounts[parent] ?? 1) - 1;
  }

  #isBelow(node: number, ancestor: number): boolean {
    if (this.#childCounts[ancestor] === 0) return false;
    for (let at = this.parents[node] ?? -1; at >= 0; at = this.parents[at] ?? -1) {
      if (at === ancestor || ++this.#loopSteps > loopStepsMax) return true;
    }
    return false;
  }
}

/** Steps 2 to 6. Dummies stand at the top only. */
class Forest {
  readonly #messages: ThreadMessages;
  readonly #count: number;
  readonly #parents: readonly number[];
  readonly #children: (number[] | undefined)[];
  #roots: number[] = [];

  constructor(messages: ThreadMessages, parents: readonly number[]) {
    this.#messages = messages;
    this.#count = messages.uids.length;
    this.#parents = parents;
    this.#children = new Array<number[] | undefined>(parents.length).fill(undefined);
  }

  /** Steps 2 to 4. */
  *plant(): Steps<void> {
    const above = [...this.#parents];
    for (let node = 0; node < this.#count; node++) {
      if (node % stepSize === 0) yield;
      const parent = this.#realParent(above, node);
      if (parent < 0) this.#roots.push(node);
      else this.#addChild(parent, node);
    }
    // Step 3: a dummy at the top stays only above several.
    for (let dummy = this.#count; dummy < above.length; dummy++) {
      const children = this.#children[dummy];
      if (children === undefined) continue;
      const [only] = children;
      this.#roots.push(children.length === 1 && only !== undefined ? only : dummy);
    }
    yield* this.#sortAll(); // Step 4.
  }

  /** Step 5: threads with the same subject become one. */
  *gatherSubjects(): Steps<void> {
    const table = new Map<string, number>();
    for (const [at, root] of this.#roots.entries()) {
      if (at % stepSize === 0) yield;
      const subject = this.#subjectOf(root);
      if (subject === "") continue;
      const known = table.get(subject);
      if (known === undefined || this.#isBetter(root, known)) table.set(subject, root);
    }
    const gone = new Set<number>();
    const added: number[] = [];
    for (const [at, root] of this.#roots.entries()) {
      if (at % stepSize === 0) yield;
      const subject = this.#subjectOf(root);
      const known = subject === "" ? undefined : table.get(subject);
      if (known === undefined || known === root) continue;
      gone.add(root);
      if (this.#isDummy(known)) {
        // One by one: as many arguments as a mailbox has messages are too many for a call.
        if (!this.#isDummy(root)) this.#addChild(known, root);
        else for (const child of this.#childrenOf(root)) this.#addChild(known, child);
      } else if (this.#isReply(root) && !this.#isReply(known)) {
        this.#addChild(known, root);
      } else {
        const dummy = this.#children.push([known, root]) - 1;
        gone.add(known);
        added.push(dummy);
        table.set(subject, dummy);
      }
    }
    this.#roots = [...this.#roots, ...added].filter((root) => !gone.has(root));
    yield* this.#sortAll(); // Step 6.
  }

  *flatten(): Steps<Threads> {
    const uids: number[] = [];
    const depths: number[] = [];
    const open = this.#roots.toReversed();
    const openDepths = open.map(() => 0);
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      const depth = openDepths.pop() ?? 0;
      if (uids.length % stepSize === 0) yield;
      uids.push(this.#isDummy(node) ? 0 : (this.#messages.uids[node] ?? 0));
      depths.push(depth);
      const children = this.#childrenOf(node);
      for (let at = children.length - 1; at >= 0; at--) {
        open.push(children[at] ?? 0);
        openDepths.push(depth + 1);
      }
    }
    return { uids, depths };
  }

  /** Step 3: children of a dummy go to the next parent above that is none, or to the dummy at the top. */
  #realParent(above: number[], node: number): number {
    const first = above[node] ?? -1;
    let top = first;
    while (this.#isDummy(top) && (above[top] ?? -1) >= 0) top = above[top] ?? -1;
    // The way is shorter for the next one.
    for (let at = first; at !== top && this.#isDummy(at); ) {
      const next = above[at] ?? -1;
      above[at] = top;
      at = next;
    }
    return top;
  }

  /** Step 5 B iv. */
  #isBetter(root: number, known: number): boolean {
    if (this.#isDummy(known)) return false;
    return this.#isDummy(root) || (this.#isReply(known) && !this.#isReply(root));
  }

  #isDummy(node: number): boolean {
    return node >= this.#count;
  }

  #isReply(node: number): boolean {
    return this.#messages.isReply[node] ?? false;
  }

  #subjectOf(root: number): string {
    return this.#messages.subjects[this.#firstOf(root)] ?? "";
  }

  /** The message itself, or a dummy's first child. */
  #firstOf(root: number): number {
    return this.#isDummy(root) ? (this.#children[root]?.[0] ?? 0) : root;
  }

  #childrenOf(node: number): readonly number[] {
    return this.#children[node] ?? [];
  }

  #addChild(parent: number, child: number): void {
    const children = this.#children[parent];
    if (children === undefined) this.#children[parent] = [child];
    else children.push(child);
  }

  *#sortAll(): Steps<void> {
    const before = bySentDate(this.#messages.sentMs);
    for (const [node, children] of this.#children.entries()) {
      if (node % stepSize === 0) yield;
      if (children === undefined || children.length < 2) continue;
      if (children.length < stepSize) children.sort(before);
      else this.#children[node] = [...(yield* sortSteps(Uint32Array.from(children), before))];
    }
    const byFirst = (a: number, b: number): number => before(this.#firstOf(a), this.#firstOf(b));
    this.#roots = [...(yield* sortSteps(Uint32Array.from(this.#roots), byFirst))];
  }
}
