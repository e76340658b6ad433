// State of one IMAP session: who is logged in, what is enabled, which mailbox is selected. Commands
// read and change it; dispatch.ts runs them one after the other; connection.ts owns the socket.
// RFC 9051 §3

import type { ChannelBinding } from "../sasl/channel-binding.ts";
import type { GatewayServices } from "../services.ts";
import type { Change, Principal } from "../../mail/mail-store.ts";
import type { UidSet } from "../../mail/uid-set.ts";
import { noUids } from "../../mail/uid-set.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { MailError } from "../../mail/errors.ts";
import { Input } from "./input.ts";
import type { InputGate, WaitKind } from "./input.ts";
import type { ImapLimits } from "./limits.ts";
import type { Notifier } from "./notifier.ts";
import { Output } from "./output.ts";
import type { ByteSink } from "./output.ts";
import type { Selected } from "./selected.ts";

export type SessionState = "unauthenticated" | "authenticated" | "selected" | "logout";

/** A literal at the end of an unfinished APPEND, not yet asked for. */
export interface AnnouncedLiteral {
  readonly size: number;
  /** The client waits for `+`. */
  readonly sync: boolean;
}

/** What the connection does for its session. */
export interface SessionHost extends InputGate, ByteSink {
  /** The client's address, without zone or mapped-IPv4 prefix. */
  readonly address: string;
  /** True once TLS is up. */
  secure(): boolean;
  channelBinding(): ChannelBinding;
  /** Encrypts the connection; resolves when the handshake is done. */
  startTls(): Promise<void>;
  /** Counts a connection of the user; false when there are too many. Given back at the end. */
  claimUser(account: DirectoryRow["account"]): boolean;
  /** The connection is nobody's again. */
  releaseUser(): void;
  /** True while both directions are deflated. */
  compressed(): boolean;
  /** Deflates from here on. @param held Bytes that came behind the command: compressed already. */
  startCompression(held: Uint8Array): void;
  endCompression(): void;
  /** Cuts the connection without a word. */
  destroy(): void;
}

/** Streaming at this rate keeps a literal's deadline away: the bytes that must come in one period. */
const literalProgressBytes = 30_000;

export class Session {
  readonly services: GatewayServices;
  readonly limits: ImapLimits;
  readonly host: SessionHost;
  readonly input: Input;
  readonly out: Output;
  /** Aborts when the connection is gone. */
  readonly signal: AbortSignal;

  /** Tag of the command that runs. */
  tag = "*";
  user: { readonly principal: Principal; readonly name: string } | undefined;
  selected: Selected | undefined;
  /** RFC 7162 §3.1: set by ENABLE or by the first command that shows awareness. */
  condstore = false;
  qresync = false;
  rev2 = false;
  utf8Accept = false;
  /** RFC 9586: no message numbers in either direction. */
  uidOnly = false;
  /** What the client wants to be told by itself; absent: it has not said. RFC 5465 */
  notify: Notifier | undefined;
  /** A command runs; IDLE is none once it has begun. */
  busy = false;
  idling = false;
  /** The saved search result `$`. RFC 9051 §6.4.4.1 */
  saved: UidSet = noUids;
  /** Set while APPEND runs and a message's literal has been announced. */
  announced: AnnouncedLiteral | undefined;
  loginFailures = 0;
  loggedOut = false;
  /** Called now and then while the client idles. */
  onKeepAlive: (() => void) | undefined;

  /** Monotonic milliseconds after which the connection is ended for silence. */
  deadlineMs: number;
  #waiting: WaitKind | "none" = "none";
  #literalBytes = 0;
  #silentSinceMs: number | undefined;
  #bye: string | undefined;

  constructor(
    services: GatewayServices,
    limits: ImapLimits,
    host: SessionHost,
    signal: AbortSignal,
  ) {
    this.services = services;
    this.limits = limits;
    this.host = host;
    this.signal = signal;
    this.input = new Input(host, (kind) => this.#onWait(kind));
    this.out = new Output(host, limits.outputBytesMax);
    this.deadlineMs = services.clock.monotonicMs() + limits.loginMs;
  }

  get state(): SessionState {
    if (this.loggedOut) return "logout";
    if (this.user === undefined) return "unauthenticated";
    return this.selected === undefined ? "authenticated" : "selected";
  }
  /** UTF-8 in quoted strings and mailbox names. RFC 9051 §6.3.1, RFC 6855 §3 */
  get utf8(): boolean {
    return this.rev2 || this.utf8Accept;
  }
  /** Of the user that is logged in; commands that need one run in no other state. */
  get principal(): Principal {
    if (this.user === undefined) throw new MailError({ code: "NO_SUCH_ACCOUNT" });
    return this.user.principal;
  }
  /** True while it waits for the client and does nothing else. */
  get waits(): boolean {
    return this.#waiting !== "none";
  }
  /** True when unasked responses may be written now. */
  get quiet(): boolean {
    return !this.busy && this.user !== undefined && this.#bye === undefined && !this.loggedOut;
  }
  /** Why the session is to end, once something wants it to. */
  get bye(): string | undefined {
    return this.#bye;
  }

  /** Identity for one change. */
  change(): Change {
    return { opId: this.services.nextOpId(), retry: false };
  }

  /** Bytes from the client. */
  receive(chunk: Uint8Array): void {
    if (this.#waiting === "literal") this.#literalBytes += chunk.length;
    this.input.push(chunk);
  }

  /** Ends the session with BYE: at once when it waits for the client, else behind the command. */
  endWith(text: string): void {
    this.#bye ??= text;
    this.input.end();
  }

  /** Ends the session with BYE behind the command in hand, at once when there is none. */
  endWhenQuiet(text: string): void {
    if (this.#waiting === "command" || this.user === undefined) this.endWith(text);
    else this.#bye ??= text;
  }

  /** Cuts the connection: inside a literal nothing can be said any more. */
  breakOff(): void {
    this.loggedOut = true;
    this.host.destroy();
  }

  /** Leaves the selected mailbox without expunging. */
  unselect(): void {
    this.selected?.close();
    this.selected = undefined;
    this.saved = noUids;
  }

  /** Back to where a connection is before login. RFC 8437 §2 */
  logOut(): void {
    this.unselect();
    this.notify?.close();
    this.notify = undefined;
    this.user = undefined;
    this.condstore = this.qresync = this.rev2 = this.utf8Accept = this.uidOnly = false;
    this.host.releaseUser();
    this.deadlineMs = this.services.clock.monotonicMs() + this.limits.loginMs;
  }

  /** STARTTLS: nothing that was said in the clear counts any more. RFC 9051 §6.2.1 */
  forgetPlaintextState(): void {
    this.loginFailures = 0;
    this.tag = "*";
  }

  /** The server works on a command: no deadline of the client runs. */
  working(): void {
    this.#waiting = "none";
    if (this.user !== undefined) this.deadlineMs = Number.POSITIVE_INFINITY;
  }

  /** A command began or ended that may take long and says nothing before its end. */
  set silentCommand(running: boolean) {
    this.#silentSinceMs = running ? this.services.clock.monotonicMs() : undefined;
  }

  /** Called about once a second: a long command tells that it is still at work. RFC 9585 §4 */
  tick(nowMs: number): void {
    if (this.#silentSinceMs === undefined) return;
    if (nowMs - this.#silentSinceMs < this.limits.inProgressMs) return;
    this.#silentSinceMs = nowMs;
    this.out.text('* OK [INPROGRESS ("').text(this.tag.replace(/["\\]/g, "\\$&"));
    this.out.text('" NIL NIL)] Still at work\r\n').end();
  }

  #onWait(kind: WaitKind): void {
    this.out.end();
    // Before login one deadline holds for everything, so that slow drips gain nothing.
    if (this.user === undefined) {
      this.#waiting = kind;
      return;
    }
    const nowMs = this.services.clock.monotonicMs();
    if (kind === "literal" && this.#waiting === "literal") {
      if (this.#literalBytes < literalProgressBytes) return;
      this.deadlineMs = nowMs + this.limits.commandReadMs;
    } else if (kind !== this.#waiting) {
      const period = kind === "command" ? this.limits.autologoutMs : this.limits.commandReadMs;
      this.deadlineMs = nowMs + period;
    }
    this.#literalBytes = 0;
    this.#waiting = kind;
  }
}
