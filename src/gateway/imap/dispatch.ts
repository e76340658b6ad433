// The life of a session: greeting, commands one after the other in the order they came, BYE.
// RFC 9051 §3, §5.5. Bytes and deadlines belong to the connection, meaning to the commands.

import { AssertionFailure } from "../../lib/assert.ts";
import { isMailError } from "../../mail/errors.ts";
import { capabilities } from "./capabilities.ts";
import type { Command } from "./command.ts";
import { commandTable } from "./command-table.ts";
import { skipRestOfAppend } from "./appending.ts";
import { InputEnded } from "./input.ts";
import { decideLiteral } from "./literal-policy.ts";
import { bad, failureReply, no } from "./reply.ts";
import type { Reply } from "./reply.ts";
import { writeReply } from "./responses.ts";
import type { Session } from "./session.ts";
import { syncSelected } from "./sync-selected.ts";
import { SP } from "./syntax/characters.ts";
import { Cursor } from "./syntax/cursor.ts";

/** Commands that name messages by number; they have UID forms. RFC 9586 §3.2 */
const byNumber: ReadonlySet<string> = new Set(
  "COPY FETCH MOVE REPLACE SEARCH SORT STORE THREAD".split(" "),
);

/** Runs the session to its end. Resolves when nothing more is to be said. */
export async function serveSession(session: Session): Promise<void> {
  const { out, services } = session;
  try {
    out.text(`* OK [CAPABILITY ${capabilities(session)}] ${services.hostName} Pabal ready\r\n`);
    out.end();
    await serveCommands(session);
  } catch (error) {
    if (!(error instanceof InputEnded) && !session.signal.aborted) throw error;
  } finally {
    session.unselect();
    session.notify?.close();
    await session.notify?.settled();
  }
  if (session.loggedOut || session.signal.aborted) return;
  if (session.bye !== undefined) out.text(`* BYE ${session.bye}\r\n`);
  out.end();
}

async function serveCommands(session: Session): Promise<void> {
  let badCount = 0;
  while (session.bye === undefined && !session.loggedOut) {
    const text = await nextCommand(session);
    if (text === undefined) return;
    session.busy = true;
    await session.notify?.settled();
    session.working();
    const reply = await runCommand(session, text);
    badCount = reply.status === "BAD" ? badCount + 1 : 0;
    writeReply(session.out, session.tag, reply);
    session.out.end();
    await reply.after?.();
    if (reply.bye !== undefined) session.endWith(reply.bye);
    else if (badCount >= session.limits.badCommandsMax) session.endWith("Too many bad commands");
    else await settleAppend(session);
    if (session.out.full) await session.out.drained(session.signal);
    session.busy = false;
    session.notify?.poke();
  }
}

/** The next whole command, or an APPEND up to its message. Undefined at the end of input. */
async function nextCommand(session: Session): Promise<Uint8Array | undefined> {
  const { input, out, limits } = session;
  const loggedIn = session.user !== undefined;
  let limitBytes = loggedIn ? limits.commandBytesMax : limits.unauthenticatedCommandBytesMax;
  let keptCount = 0;
  for (;;) {
    const event = await input.next(limitBytes);
    switch (event.kind) {
      case "command":
        return event.text;
      case "end":
      case "data":
        return undefined;
      case "tooLong":
        // RFC 4959 §3: the initial response may be as long as one in a line of its own.
        if (limitBytes < limits.authLineBytesMax && isAuthenticate(event.text)) {
          limitBytes = limits.authLineBytesMax;
          break;
        }
        writeReply(out, tagOf(event.text), bad("The command is too long", "TOOBIG"));
        session.endWith("Command too long");
        return undefined;
      case "literal": {
        const decision = decideLiteral({ keptCount, loggedIn, ...event }, limits);
        if (decision.kind === "stream") {
          session.announced = { size: event.size, sync: event.sync };
          return event.text;
        }
        if (decision.kind === "keep") {
          keptCount++;
          input.keepLiteral();
          if (event.sync) out.text("+ Ready for the literal\r\n").end();
          break;
        }
        keptCount = 0;
        writeReply(out, tagOf(event.text), decision.reply);
        out.end();
        input.abandonLiteral();
        if (decision.reply.bye !== undefined) {
          session.endWith(decision.reply.bye);
          return undefined;
        }
      }
    }
  }
}

async function runCommand(session: Session, text: Uint8Array): Promise<Reply> {
  const cursor = new Cursor(text, session.limits.nestingMax);
  session.tag = cursor.tag();
  if (!cursor.ok) {
    session.tag = "*"; // RFC 9051 §7.1.3: BAD without a tag when there is none to answer.
    return bad("Expected a tag");
  }
  cursor.space();
  const found = cursor.ok ? findCommand(cursor) : undefined;
  if (found === undefined) return bad(cursor.fault ?? "Unknown command");
  if (!found.states.includes(session.state)) {
    return bad(`${found.name} is not possible in this state`);
  }
  if (session.uidOnly && byNumber.has(found.name)) {
    return bad(`Use UID ${found.name}`, "UIDREQUIRED");
  }
  const run = found.plan(cursor, session);
  if (cursor.fault !== undefined) return bad(`${found.name}: ${cursor.fault}`, cursor.faultCode);
  let reply: Reply;
  if (found.silent) session.silentCommand = true;
  try {
    reply = await run();
  } catch (error) {
    reply = replyToError(session, found, error);
  }
  session.silentCommand = false;
  return synchronise(session, found, reply);
}

function findCommand(cursor: Cursor): Command | undefined {
  const word = cursor.word();
  if (word !== "UID") return commandTable.get(word);
  return cursor.skip(SP) ? commandTable.get(`UID ${cursor.word()}`) : undefined;
}

function replyToError(session: Session, { name, missing }: Command, error: unknown): Reply {
  if (error instanceof InputEnded || session.signal.aborted) throw error;
  if (isMailError(error)) {
    session.services.log.debug({ err: error, command: name }, "imap command refused");
    return failureReply(error.failure, missing);
  }
  // Our bug. An assertion ends the process; anything else ends this session alone.
  if (error instanceof AssertionFailure) throw error;
  session.services.log.error({ err: error, command: name }, "imap command failed");
  return { ...no("Internal error", "SERVERBUG"), bye: "Internal error" };
}

/** Tells the client what has happened in its mailbox. RFC 9051 §5.2, §7.5.1 */
async function synchronise(session: Session, { sync }: Command, reply: Reply): Promise<Reply> {
  const { selected } = session;
  if (selected === undefined || sync === "none" || reply.bye !== undefined) return reply;
  try {
    const expunge = sync !== "noExpunge";
    await syncSelected(session, { expunge, force: sync === "poll" });
    // RFC 5530 §3: numbers were used whose messages are gone.
    if (!expunge && selected.hasUntold && reply.status === "OK" && reply.code === undefined) {
      return { ...reply, code: "EXPUNGEISSUED" };
    }
    return reply;
  } catch (error) {
    if (!isMailError(error)) throw error;
    // The command's own outcome stands; the news come with a later command.
    const { bye } = failureReply(error.failure);
    if (bye !== undefined) return { ...reply, bye };
    // HIGHESTMODSEQ would say that the client knows all up to there. RFC 7162 §3.2.9
    return reply.code?.startsWith("HIGHESTMODSEQ") === true
      ? { status: reply.status, text: reply.text }
      : reply;
  }
}

/** A refused APPEND leaves literals that are still to be read, or to be turned down. */
async function settleAppend(session: Session): Promise<void> {
  if (session.announced === undefined && !session.input.insideCommand) return;
  if (!(await skipRestOfAppend(session))) session.endWith("Message too large");
}

function isAuthenticate(text: Uint8Array): boolean {
  return /^[^ ]{1,64} AUTHENTICATE /i.test(Buffer.from(text.subarray(0, 80)).toString("latin1"));
}

/** The tag of a command that could not be read to its end. */
function tagOf(text: Uint8Array): string {
  const cursor = new Cursor(text.subarray(0, 256), 1);
  const tag = cursor.tag();
  return cursor.ok ? tag : "*";
}
