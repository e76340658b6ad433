// Parameters cut into pieces, as BODYSTRUCTURE shows them. RFC 2231 §3, §6

import { expect, test } from "vitest";
import { joinContinuations } from "../../../../src/mail/mime/continuations.ts";

test.each([
  ["plain pieces", ["f*0", "f*1"], ["a", "b.txt"], ["f"], ["ab.txt"]],
  ["out of order", ["f*1", "g", "f*0"], ["b", "x", "a"], ["f", "g"], ["ab", "x"]],
  ["encoded", ["f*0*", "f*1*"], ["utf-8''%ED", "%95%9C"], ["f*"], ["utf-8''%ED%95%9C"]],
  ["mixed", ["f*0*", "f*1"], ["utf-8''%41", "50% b"], ["f*"], ["utf-8''%4150%25%20b"]],
  ["a gap", ["f*0", "f*2"], ["a", "c"], ["f", "f*2"], ["a", "c"]],
  ["none", ["f*", "g*x"], ["a", "c"], ["f*", "g*x"], ["a", "c"]],
  ["not from 0", ["f*1"], ["a"], ["f*1"], ["a"]],
])("%s", (_name, names, values, joinedNames, joinedValues) => {
  const joined = joinContinuations({ names, values });
  expect([...joined.names]).toEqual(joinedNames);
  expect([...joined.values]).toEqual(joinedValues);
});
