// A submitted message with groups among its recipients: for each group it is stored once, with the
// group's header fields in front; `group+unsubscribe` and `group+subscribe` are orders of the sender's
// and store nothing. Paper BC1, BC2, BC7. Other recipients get it as always.

import { listFields } from "../../cluster/groups/announcement-message.ts";
import type { DirectoryRow } from "../../mail/account.ts";
import { Intake } from "./intake.ts";
import type { Delivered, IntakeOptions, MessageFacts } from "./intake.ts";
import type { Recipient } from "./recipients.ts";
import { replyOfError } from "./replies.ts";

/** What a message's bytes go into. */
export type MessageIntake = Pick<Intake, "push" | "room" | "abort" | "deliver">;

/** One intake for all recipients, or one more for each group. */
export function intakeFor(options: IntakeOptions, user: DirectoryRow | undefined): MessageIntake {
  const isPlain = options.recipients.every(({ row }) => row.group === undefined);
  return isPlain || user === undefined ? new Intake(options) : new GroupIntake(options, user);
}

interface Part {
  readonly intake: Intake;
  /** Places of its recipients among all. */
  readonly at: readonly number[];
}

class GroupIntake implements MessageIntake {
  readonly #options: IntakeOptions;
  readonly #user: DirectoryRow;
  readonly #parts: readonly Part[];

  constructor(options: IntakeOptions, user: DirectoryRow) {
    this.#options = options;
    this.#user = user;
    this.#parts = partsOf(options);
  }

  push(chunk: Buffer): void {
    for (const { intake } of this.#parts) intake.push(chunk);
  }

  get room(): Promise<void> | undefined {
    const waits = this.#parts.flatMap(({ intake: { room } }) => (room === undefined ? [] : [room]));
    return waits.length === 0 ? undefined : Promise.all(waits).then(() => undefined);
  }

  abort(): void {
    for (const { intake } of this.#parts) intake.abort();
  }

  async deliver(facts: MessageFacts): Promise<Delivered> {
    const { recipients } = this.#options;
    const replies: string[] = recipients.map(() => "");
    const delivered = await Promise.all(
      this.#parts.map(async ({ intake, at }) => {
        const fingerprints = at.map((place) => facts.fingerprints[place] ?? "");
        const outcome = await intake.deliver({ ...facts, fingerprints });
        at.forEach((place, index) => {
          replies[place] = outcome.replies[index] ?? "";
        });
        return outcome.deliveries;
      }),
    );
    for (const [place, recipient] of recipients.entries()) {
      if (recipient.order !== undefined) replies[place] = await this.#obey(recipient);
    }
    return { replies, deliveries: delivered.flat() };
  }

  /** The sender joins or leaves. Done twice it is the same. */
  async #obey({ row, order }: Recipient): Promise<string> {
    const { services, signal } = this.#options;
    if (services.groups === undefined) return "550 5.7.1 Groups can't be joined or left by mail";
    try {
      if (order === "leave") await services.groups.leave(row.name, this.#user.name, signal);
      else await services.groups.join(row.name, this.#user.name, signal);
    } catch (error) {
      services.log.warn({ err: error, group: row.name }, "group not joined or left");
      return replyOfError(error);
    }
    return order === "leave" ? "250 2.0.0 You have left" : "250 2.0.0 You are a member now";
  }
}

function partsOf(options: IntakeOptions): readonly Part[] {
  const { recipients, services, head } = options;
  const plain: number[] = [];
  const groups = new Map<number, number[]>();
  recipients.forEach(({ row, order }, at) => {
    if (order !== undefined) return;
    if (row.group === undefined) plain.push(at);
    else groups.set(row.account, [...(groups.get(row.account) ?? []), at]);
  });
  const part = (at: readonly number[], more: Partial<IntakeOptions>): Part => ({
    at,
    intake: new Intake({
      ...options,
      ...more,
      recipients: at.flatMap((place) => recipients[place] ?? []),
    }),
  });
  const parts = Array.from(groups.values(), (at) => {
    const row = recipients[at[0] ?? 0]?.row;
    const fields = row === undefined ? "" : listFields(row);
    return part(at, {
      head: Buffer.concat([head, Buffer.from(fields)]),
      // Its bytes are others than the plain ones'.
      deliveryId: services.nextDeliveryId(),
    });
  });
  return plain.length === 0 ? parts : [part(plain, {}), ...parts];
}
