// The protocol listeners of a gateway: which are configured, with limits from the configuration.

import type { Logger } from "pino";
import {
  countedServices,
  type FrontEndCounters,
  type FrontEndProtocol,
} from "../../gateway/front-end-counters.ts";
import { defaultImapLimits } from "../../gateway/imap/limits.ts";
import { startImap } from "../../gateway/imap/listener.ts";
import { processMemoryGuard } from "../../gateway/memory-guard.ts";
import { defaultPop3Limits } from "../../gateway/pop3/limits.ts";
import { startPop3 } from "../../gateway/pop3/listener.ts";
import type { GatewayServices, Listener } from "../../gateway/services.ts";
import type { SmtpKind } from "../../gateway/smtp/context.ts";
import { defaultSmtpLimits, type SmtpLimits } from "../../gateway/smtp/limits.ts";
import { startSmtp } from "../../gateway/smtp/start.ts";
import type { Config } from "../config/schema.ts";
import { type ListenerName, listenFailure } from "./listeners.ts";

/** Starts every configured mail listener. @throws CommandFailure when one can't listen; none stays then. */
export async function startFrontEnds(
  config: Config,
  services: GatewayServices,
  counters: FrontEndCounters,
  log: Logger,
): Promise<readonly Listener[]> {
  const started: Listener[] = [];
  const memory = processMemoryGuard(services.clock, config.limits.memory);
  for (const [name, start] of starters(config, { ...services, memory }, counters)) {
    const listener = config.listen[name];
    if (listener === undefined) continue;
    try {
      started.push(await start(listener));
    } catch (error) {
      await Promise.all(started.map((running) => running.close(AbortSignal.abort())));
      throw listenFailure(name, listener, error);
    }
    log.info({ listener: name, address: listener.address, port: listener.port }, "listening");
  }
  return started;
}

type MailListenerName = Exclude<ListenerName, "http" | "link" | "pulse">;
type MailListener = NonNullable<Config["listen"][MailListenerName]>;
type Start = (listener: MailListener) => Promise<Listener>;

function starters(
  config: Config,
  services: GatewayServices,
  counters: FrontEndCounters,
): readonly (readonly [MailListenerName, Start])[] {
  const counted = (protocol: FrontEndProtocol): GatewayServices =>
    countedServices(services, counters[protocol]);
  const smtp =
    (kind: SmtpKind, implicitTls: boolean): Start =>
    (listener) =>
      startSmtp({
        services: counted(kind === "relay" ? "smtp" : kind),
        kind,
        limits: smtpLimits(config),
        ...placeOf(listener),
        implicitTls,
      });
  const imap =
    (implicitTls: boolean): Start =>
    (listener) =>
      startImap({
        services: counted("imap"),
        limits: imapLimits(config),
        ...placeOf(listener),
        implicitTls,
      });
  const pop3 =
    (implicitTls: boolean): Start =>
    (listener) =>
      startPop3({
        services: counted("pop3"),
        limits: pop3Limits(config),
        ...placeOf(listener),
        implicitTls,
      });
  return [
    ["smtp", smtp("relay", false)],
    ["submission", smtp("submission", false)],
    ["submissions", smtp("submission", true)],
    ["lmtp", smtp("lmtp", false)],
    ["imap", imap(false)],
    ["imaps", imap(true)],
    ["pop3", pop3(false)],
    ["pop3s", pop3(true)],
  ];
}

function placeOf({ address, port, trustedProxies }: MailListener) {
  return { address, port, trustedProxies };
}

function smtpLimits({ limits, smtp }: Config): SmtpLimits {
  return {
    ...defaultSmtpLimits,
    messageBytesMax: limits.messageBytes,
    recipientsMax: limits.recipients,
    hopsMax: limits.hops,
    badCommandsMax: limits.badCommands,
    lineBytesMax: limits.smtpLineBytes,
    authLineBytesMax: limits.authLineBytes,
    textLineBytesMax: limits.textLineBytes,
    connectionsPerAddressMax: limits.sessionsPerAddress,
    commandTimeoutMs: limits.commandTimeout,
    unknownRecipientsMax: limits.unknownRecipients,
    authenticationMs: limits.authTimeout,
    tlsHandshakeMs: limits.handshakeTimeout,
    dataBytesPerMinuteMin: 100,
    bareNewlines: smtp.bareNewlines,
    greetingDelayMs: smtp.greetingDelay,
    channelBinding: smtp.channelBinding,
    spoolAfterMs: smtp.spoolAfter,
  };
}

function imapLimits({ limits }: Config): typeof defaultImapLimits {
  return {
    ...defaultImapLimits,
    unauthenticatedCommandBytesMax: limits.imapCommandBytesBeforeLogin,
    commandBytesMax: limits.imapCommandBytes,
    authLineBytesMax: limits.authLineBytes,
    nestingMax: limits.imapNesting,
    messageBytesMax: limits.messageBytes,
    connectionsPerUserMax: limits.sessionsPerUser,
    connectionsPerAddressMax: limits.sessionsPerAddress,
    outputBytesMax: limits.outputBytes,
    loginMs: limits.authTimeout,
    commandReadMs: limits.commandTimeout,
    autologoutMs: limits.idleTimeout,
    outputStuckMs: limits.stuckTimeout,
    tlsHandshakeMs: limits.handshakeTimeout,
    resyncMs: limits.rpc,
  };
}

function pop3Limits({ limits }: Config): typeof defaultPop3Limits {
  return {
    ...defaultPop3Limits,
    authLineBytesMax: limits.authLineBytes,
    badCommandsMax: limits.badCommands,
    connectionsPerAddressMax: limits.sessionsPerAddress,
    authenticationMs: limits.authTimeout,
    tlsHandshakeMs: limits.handshakeTimeout,
    writeMs: limits.stuckTimeout,
  };
}
