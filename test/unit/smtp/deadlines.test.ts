// How long a client may take, without a clock.
import { describe, expect, test } from "vitest";
import { Deadlines, type ClientState } from "../../../src/gateway/smtp/deadlines.ts";
import { defaultSmtpLimits } from "../../../src/gateway/smtp/limits.ts";

const state = (waitsFor: ClientState["waitsFor"], dataFed = 0): ClientState => ({
  waitsFor,
  dataFed,
  authenticated: false,
});

describe("deadlines", () => {
  test("time in which we work, or hold the client back, is not the client's", () => {
    const deadlines = new Deadlines(defaultSmtpLimits, true);
    deadlines.dataBegins(0);
    for (let i = 0; i < 600; i++) expect(deadlines.tick(1000, state("us"))).toBeUndefined();
    const relay = new Deadlines(defaultSmtpLimits, false);
    relay.dataBegins(0);
    for (let i = 0; i < 59; i++) expect(relay.tick(1000, state("data"))).toBeUndefined();
    for (let i = 0; i < 600; i++) expect(relay.tick(1000, state("us"))).toBeUndefined();
    expect(relay.tick(1000, state("data"))).toMatch(/^421 4\.4\.2 Message comes slower/);
  });

  test("each minute of a message is judged for itself", () => {
    const deadlines = new Deadlines(defaultSmtpLimits, false);
    deadlines.dataBegins(500);
    expect(deadlines.tick(60_000, state("data", 100_500))).toBeUndefined();
    expect(deadlines.tick(60_000, state("data", 106_500))).toBeUndefined();
    expect(deadlines.tick(60_000, state("data", 112_499))).toMatch(/^421 /);
  });

  test("a command puts off its deadline, a handshake has its own", () => {
    const deadlines = new Deadlines(defaultSmtpLimits, false);
    expect(deadlines.tick(300_000, state("command"))).toBeUndefined();
    deadlines.clientActed();
    expect(deadlines.tick(300_000, state("command"))).toBeUndefined();
    expect(deadlines.tick(1, state("command"))).toMatch(/^421 4\.4\.2 No command/);
    expect(deadlines.tick(10_000, state("handshake"))).toBeUndefined();
    expect(deadlines.tick(1, state("handshake"))).toBe("handshake");
  });
});
