// The stress test's model must see what is wrong: each rule broken once, by responses fed to it.

import { describe, expect, test } from "vitest";
import { judge } from "../../stress/audit.ts";
import { changedFlags, MailboxTruth, Ticks } from "../../stress/truth.ts";
import { type Doing, MailboxView, numbersOf, parseFetch, setOf } from "../../stress/view.ts";

const listed = { flags: "\\Seen", modSeq: 9 };

type Model = ReturnType<typeof model>;

function model(options: { readonly vanishing?: boolean; readonly exists?: number } = {}) {
  const wrong: string[] = [];
  const ticks = new Ticks();
  const violate = (what: string): void => {
    wrong.push(what);
  };
  const truth = new MailboxTruth("u", "INBOX", ticks, violate);
  const view = new MailboxView(truth, false, options.vanishing ?? false, violate);
  const doing = (kind: string): Doing => ({
    kind,
    start: ticks.next(),
    firstTold: new Map(),
    told: new Set(),
    found: undefined,
    codes: new Map(),
    counters: new Map(),
  });
  view.exists(options.exists ?? 0, doing("SELECT"));
  const told = (sequence: number, uid: number, flags = "", modSeq = 0, kind = "FETCH"): void =>
    view.fetched(sequence, { uid, flags, modSeq }, doing(kind));
  const list = (...uids: number[]): void =>
    judge({ violate }, truth, new Map(uids.map((uid) => [uid, { ...listed, id: `m${uid}` }])));
  return { wrong, ticks, truth, view, doing, told, list };
}

function outOfOrder({ view, doing, told }: Model): void {
  view.exists(3, doing("NOOP"));
  told(3, 15);
}

describe("a view", () => {
  test("goes along with a session that is right", () => {
    const { wrong, view, doing, told, list } = model({ exists: 3 });
    [1, 2, 3].forEach((n) => told(n, n * 10, "\\Seen", n));
    view.truth.message(20).deletable = true;
    view.expunge(2, doing("NOOP"));
    told(2, 30, "\\Seen", 3);
    view.exists(3, doing("NOOP"));
    told(3, 40, "", 4);
    for (const uid of [10, 30, 40]) view.truth.message(uid).explained = true;
    list(10, 30, 40);
    expect(wrong).toEqual([]);
    expect(view.uids).toEqual([10, 30, 40]);
  });

  test.each(["FETCH", "STORE", "SEARCH", "SELECT", "none"])(
    "has no EXPUNGE in answer to %s",
    (kind) => {
      const { wrong, view, doing } = model({ exists: 1 });
      view.expunge(1, doing(kind));
      expect(wrong).toEqual([`EXPUNGE in answer to ${kind}`]);
    },
  );

  test.each<readonly [string, (all: Model) => void]>([
    ["fewer EXISTS", ({ view, doing }: Model) => view.exists(1, doing("NOOP"))],
    ["EXPUNGE of nothing", ({ view, doing }) => view.expunge(3, doing("NOOP"))],
    ["VANISHED unasked", ({ view, doing }) => view.vanished([10], doing("NOOP"))],
    ["a FETCH of nothing", ({ told }) => told(3, 30)],
    ["another UID", ({ told }) => told(1, 11)],
    ["a UID out of order", outOfOrder],
    ["a MODSEQ that goes back", ({ told }) => told(1, 10, "", 4)],
    ["two states under a MODSEQ", ({ told }) => told(1, 10, "\\Flagged", 5)],
    ["a SEARCH of strangers", ({ view }) => view.found([10, 20, 30], "SEARCH")],
    ["a SEARCH that names one twice", ({ view }) => view.found([10, 10], "SEARCH")],
  ])("objects to %s", (_, breakIt) => {
    const all = model({ exists: 2 });
    all.told(1, 10, "", 5);
    all.told(2, 20, "", 6);
    expect(all.wrong).toEqual([]);
    breakIt(all);
    expect(all.wrong.length).toBeGreaterThan(0);
  });

  test("objects to VANISHED of a UID that it never had", () => {
    const { wrong, view, doing, told } = model({ exists: 1, vanishing: true });
    told(1, 10);
    view.vanished([11], doing("NOOP"));
    expect(wrong).toEqual(["VANISHED 11, which is not there"]);
  });

  test("lags where it misses a message, keeps one, or an old state", () => {
    const { ticks, truth, view, told } = model({ exists: 1 });
    told(1, 10, "", 5);
    expect(view.lag(ticks.next(), true)).toBeUndefined();
    truth.learnState(10, "\\Seen", 9, ticks.next());
    expect(view.lag(ticks.next(), true)).toMatch(/has 5, but 9/);
    expect(view.lag(ticks.next(), false)).toBeUndefined();
    truth.born(11, "m11", 1);
    expect(view.lag(ticks.next(), false)).toMatch(/11 is not shown/);
    truth.gone(10);
    expect(view.lag(ticks.next(), false)).toMatch(/10 is shown/);
  });
});

describe("the truth", () => {
  test("knows an acknowledged flag, unless somebody works against it", () => {
    const { wrong, ticks, truth } = model();
    const began = truth.changing(1, ["\\Seen"], []);
    truth.settle(1, ["\\Seen"], []);
    truth.acknowledged(1, ["\\Seen"], [], began);
    truth.learnState(1, "\\Seen", 0, ticks.next());
    expect(wrong).toEqual([]);
    truth.learnState(1, "", 0, ticks.next());
    expect(wrong).toHaveLength(1);
    truth.changing(1, [], ["\\Seen"]);
    truth.learnState(1, "", 0, ticks.next());
    expect(wrong).toHaveLength(1);
  });

  test("is not sure of a flag while a change without an outcome may undo it", () => {
    const { wrong, ticks, truth } = model();
    truth.changing(1, [], ["\\Seen"]);
    const began = truth.changing(1, ["\\Seen"], []);
    truth.settle(1, ["\\Seen"], []);
    truth.acknowledged(1, ["\\Seen"], [], began);
    truth.learnState(1, "", 0, ticks.next());
    expect(wrong).toEqual([]);
  });

  test("objects to a UID that names two messages, is given twice, or is below UIDNEXT", () => {
    const { wrong, truth } = model();
    truth.born(5, "a", 5);
    truth.learnId(5, "b");
    truth.born(5, "b", 5);
    truth.born(6, "c", 7);
    truth.learnUidValidity(1);
    truth.learnUidValidity(2);
    expect(wrong).toHaveLength(4);
  });
});

describe("a look through a mailbox", () => {
  test.each<readonly [string, (all: Model) => void, readonly number[]]>([
    ["was lost", (): void => undefined, []],
    ["came from nowhere", (): void => undefined, [1, 2]],
    ["came back", ({ truth }: Model) => void (truth.gone(1).deletable = true), [1]],
    ["was passed over", ({ truth }) => void (truth.message(1).passedOver = "FETCH"), [1]],
    ["outlived an EXPUNGE", ({ truth }) => void (truth.message(1).expungedAt = 9), [1]],
  ])("finds that a message %s", (_, prepare, uids) => {
    const all = model();
    all.truth.born(1, "m1", 1);
    prepare(all);
    all.list(...uids);
    expect(all.wrong).toHaveLength(1);
  });

  test("takes one copy of each command without an outcome, and no second one", () => {
    const { wrong, truth, list } = model();
    truth.mayHave("m1");
    list(1);
    expect(wrong).toEqual([]);
    judge(
      { violate: (what) => wrong.push(what) },
      truth,
      new Map([
        [1, { ...listed, id: "m1" }],
        [2, { ...listed, id: "m1" }],
      ]),
    );
    expect(wrong).toHaveLength(1);
  });
});

test("reads and writes sets and FETCH responses", () => {
  expect(numbersOf("1:3,7")).toEqual([1, 2, 3, 7]);
  expect(setOf([1, 2, 3, 7])).toBe("1:3,7");
  const text = "* 3 FETCH (UID 9 FLAGS (\\Seen $Todo \\Recent) MODSEQ (12))";
  expect(parseFetch(text)).toEqual({ uid: 9, flags: "$Todo \\Seen", modSeq: 12 });
  expect(changedFlags("a b", "remove", ["a"])).toBe("b");
  expect(changedFlags("a", "add", ["b", "a"])).toBe("a b");
});
