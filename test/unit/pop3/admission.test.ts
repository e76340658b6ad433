import { expect, test } from "vitest";
import { Admission } from "../../../src/gateway/pop3/admission.ts";

test("one address gets its share, others go on, and a place is free again after leave", () => {
  const admission = new Admission({ connectionsMax: 100, connectionsPerAddressMax: 2 });
  expect(admission.admit("192.0.2.1")).toBeUndefined();
  expect(admission.admit("192.0.2.1")).toBeUndefined();
  expect(admission.admit("192.0.2.1")).toMatch(/^-ERR \[SYS\/TEMP\] 2 connections/);
  expect(admission.admit("192.0.2.2")).toBeUndefined();
  admission.leave("192.0.2.1");
  expect(admission.admit("192.0.2.1")).toBeUndefined();
});

test("loopback has no share but counts in the whole", () => {
  const admission = new Admission({ connectionsMax: 3, connectionsPerAddressMax: 1 });
  for (const address of ["127.0.0.1", "127.0.0.1", "::1"]) {
    expect(admission.admit(address)).toBeUndefined();
  }
  expect(admission.admit("127.0.0.1")).toMatch(/^-ERR \[SYS\/TEMP\] Too many/);
});

test("a proxy's own address is not counted", () => {
  const limits = { connectionsMax: 3, connectionsPerAddressMax: 1 };
  const admission = new Admission(limits, (address) => address === "192.0.2.9");
  expect(admission.admit("192.0.2.9")).toBeUndefined();
  expect(admission.admit("192.0.2.9")).toBeUndefined();
  expect(admission.admit("192.0.2.1")).toBeUndefined();
  expect(admission.admit("192.0.2.9")).toMatch(/^-ERR \[SYS\/TEMP\]/);
});
