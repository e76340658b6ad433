// A real Thunderbird without a screen, told what to do over Marionette, the remote control of Mozilla's
// programs: scripts run inside it with its own mail services. What they check is the test's business.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { running, signalGroup, until } from "./processes.ts";

const startMs = 60_000;
const scriptMs = 60_000;

/** No questions, no start page, nothing fetched from outside. */
const preferences = {
  "app.donation.eoy.version.viewed": 999,
  "app.update.auto": false,
  "datareporting.policy.dataSubmissionPolicyBypassNotification": true,
  "mail.biff.play_sound": false,
  "mail.inappnotifications.enabled": false,
  "mail.provider.suppress_dialog_on_startup": true,
  "mail.rights.version": 1,
  "mail.shell.checkDefaultClient": false,
  "mail.spotlight.firstRunDone": true,
  "mailnews.start_page.enabled": false,
  "mailnews.start_page_override.mstone": "ignore",
  "network.proxy.type": 0,
  "toolkit.telemetry.enabled": false,
};

/** Names that every script may use. */
const prelude = `
  const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
  const server = () => MailServices.accounts.allServers.find((each) => each.type === "imap");
  const folder = (name) => [...server().rootFolder.descendants].find((each) => each.name === name || each.prettyName === name || each.URI.endsWith("/" + name));
  const header = (name, subject) => [...folder(name).messages].find((each) => each.mime2DecodedSubject === subject);
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const until = async (what, check) => {
    for (let tries = 0; tries < 900; tries++) {
      const found = await check();
      if (found) return found;
      await wait(50);
    }
    throw new Error("not seen: " + what);
  };
  const refreshed = (name) => new Promise((resolve) => {
    folder(name).updateFolder(null);
    setTimeout(resolve, 300);
  });
`;

export class Thunderbird {
  readonly #process: ChildProcess;
  readonly #profile: string;
  #marionette: Marionette | undefined;

  private constructor(process: ChildProcess, profile: string) {
    this.#process = process;
    this.#profile = profile;
  }

  static async start(): Promise<Thunderbird> {
    const profile = mkdtempSync(join(tmpdir(), "pabal-thunderbird-"));
    const port = await freePort();
    const lines = Object.entries({ ...preferences, "marionette.port": port }).map(
      ([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});`,
    );
    writeFileSync(join(profile, "user.js"), lines.join("\n"));
    const options = ["--headless", "--no-remote", "--remote-allow-system-access", "--marionette"];
    const child = spawn("thunderbird", [...options, "--profile", profile], {
      stdio: "ignore",
      detached: true,
      env: { ...process.env, HOME: profile, MOZ_CRASHREPORTER_DISABLE: "1" },
    });
    running.add(child);
    const thunderbird = new Thunderbird(child, profile);
    try {
      const marionette = await until("Thunderbird to listen", startMs, () =>
        Marionette.connect(port).catch(() => undefined),
      );
      thunderbird.#marionette = marionette;
      await marionette.call("WebDriver:NewSession", { capabilities: {} });
      await marionette.call("Marionette:SetContext", { value: "chrome" });
      await marionette.call("WebDriver:SetTimeouts", { script: scriptMs });
      return thunderbird;
    } catch (error) {
      await thunderbird.stop();
      throw error;
    }
  }

  /** Runs an async function's body inside; `arguments` are `args`. @returns what it returns, as JSON */
  async run(body: string, ...args: readonly unknown[]): Promise<unknown> {
    const script = `
      const tell = arguments[arguments.length - 1];
      const given = Array.from(arguments).slice(0, -1);
      (async () => { ${prelude}\n${body} })().then(
        (value) => tell({ value: value ?? null }),
        (error) => tell({ error: String(error) + "\\n" + error.stack }),
      );`;
    const options = { script, args, newSandbox: true, sandbox: "system" };
    const answer = await this.#remote.call("WebDriver:ExecuteAsyncScript", options);
    const { value } = answer as { value: { value?: unknown; error?: string } };
    if (value.error !== undefined) throw new Error(`in Thunderbird: ${value.error}`);
    return value.value;
  }

  /** A PNG of its main window. */
  async screenshot(file: string): Promise<void> {
    const answer = await this.#remote.call("WebDriver:TakeScreenshot", { full: false });
    writeFileSync(file, Buffer.from((answer as { value: string }).value, "base64"));
  }

  async stop(): Promise<void> {
    this.#marionette?.close();
    const ended = once(this.#process, "exit");
    if (this.#process.exitCode === null) {
      signalGroup(this.#process, "SIGKILL");
      await ended;
    }
    running.delete(this.#process);
    rmSync(this.#profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  get #remote(): Marionette {
    if (this.#marionette === undefined) throw new Error("Thunderbird does not listen");
    return this.#marionette;
  }
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Messages are `length:[type, id, …]` in JSON. */
class Marionette {
  readonly #socket: Socket;
  readonly #waiting = new Map<number, Waiting>();
  #buffer = Buffer.alloc(0);
  #id = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("error", () => {});
    socket.on("close", () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("Thunderbird is gone"));
      this.#waiting.clear();
    });
  }

  static connect(port: number): Promise<Marionette> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("error", reject);
      socket.once("connect", () => resolve(new Marionette(socket)));
    });
  }

  call(command: string, parameters: object): Promise<unknown> {
    const id = ++this.#id;
    const text = JSON.stringify([0, id, command, parameters]);
    this.#socket.write(`${Buffer.byteLength(text)}:${text}`);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk]);
    for (;;) {
      const colon = this.#buffer.indexOf(":");
      const length = Number(this.#buffer.toString("latin1", 0, colon));
      if (colon < 0 || this.#buffer.length < colon + 1 + length) return;
      const message: unknown = JSON.parse(
        this.#buffer.toString("utf8", colon + 1, colon + 1 + length),
      );
      this.#buffer = this.#buffer.subarray(colon + 1 + length);
      if (!Array.isArray(message)) continue; // Its greeting.
      const [, id, error, result] = message as [
        number,
        number,
        { message: string } | null,
        unknown,
      ];
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === null) waiting?.resolve(result);
      else waiting?.reject(new Error(error.message));
    }
  }
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await once(probe.listen(0, "127.0.0.1"), "listening");
  const { port } = probe.address() as AddressInfo;
  await once(probe.close(), "close");
  return port;
}
