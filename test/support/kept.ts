// The judgement that a run is about: something lost, doubled or changed is never looked at a second time.

import { expect } from "vitest";
import type { TestContext } from "vitest";

declare module "vitest" {
  interface TaskMeta {
    /** A failure is never repeated: it is lost mail, say. */
    once?: boolean;
  }
}

/** Fails, and for good (`meta.once`), unless nothing is broken. `broken`: a line for each broken promise. */
export function expectKept({ task }: TestContext, broken: readonly string[], about?: string): void {
  if (broken.length > 0) task.meta.once = true;
  expect(broken, about).toEqual([]);
}
