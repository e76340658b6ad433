// Decoded text of one message for SEARCH: header fields and text parts, in the form in which search
// texts are compared. Reads only what is asked for; large messages part by part.

import { searchNormalise } from "../mail/charset/unicode.ts";
import type { PartIndex } from "../mail/message-index.ts";
import { decodedHeaderText, decodedPartText } from "../mail/mime/text.ts";
import type { Body } from "./bodies.ts";
import type { Engine } from "./engine.ts";
import { readParts } from "./static-row.ts";
import type { StaticRow } from "./static-row.ts";

/** Of a larger text part only the beginning is searched. */
const partBytesMax = 16 * 1024 * 1024;

export class MessageText {
  readonly #engine: Engine;
  readonly #body: Body;
  readonly #root: PartIndex;
  #header: Uint8Array = new Uint8Array(0);
  #headerText: string | undefined;
  #bodyText = "";

  constructor(engine: Engine, body: Body, fixed: StaticRow) {
    this.#engine = engine;
    this.#body = body;
    this.#root = readParts(fixed.parts);
  }

  async loadHeader(): Promise<void> {
    this.#header = await this.#bytes(this.#root.headerStart, this.#root.bodyStart);
  }

  async loadBody(): Promise<void> {
    const texts: string[] = [];
    await this.#collect(this.#root, texts);
    this.#bodyText = searchNormalise(texts.join("\n"));
  }

  /** RFC 9051 §6.4.4 HEADER: the field is there and its decoded value contains the text. */
  headerHas(name: string, text: string): boolean {
    const value = decodedHeaderText(this.#header, name);
    return value !== undefined && (text === "" || searchNormalise(value).includes(text));
  }

  bodyHas(text: string): boolean {
    return this.#bodyText.includes(text);
  }

  textHas(text: string): boolean {
    this.#headerText ??= searchNormalise(decodedHeaderText(this.#header) ?? "");
    return this.#headerText.includes(text) || this.bodyHas(text);
  }

  async #collect(part: PartIndex, texts: string[]): Promise<void> {
    if (part.children !== undefined) {
      for (const child of part.children) {
        texts.push(await this.#headerOf(child));
        await this.#collect(child, texts);
      }
    } else if (part.message !== undefined) {
      texts.push(await this.#headerOf(part.message));
      await this.#collect(part.message, texts);
    } else if (part.type.startsWith("text/")) {
      const end = Math.min(part.bodyEnd, part.bodyStart + partBytesMax);
      texts.push(decodedPartText(await this.#bytes(part.bodyStart, end), part));
    }
  }

  async #headerOf(part: PartIndex): Promise<string> {
    return decodedHeaderText(await this.#bytes(part.headerStart, part.bodyStart)) ?? "";
  }

  async #bytes(start: number, end: number): Promise<Uint8Array> {
    return this.#body.kind === "bytes"
      ? this.#body.bytes.subarray(start, end)
      : this.#engine.bodies.readBlob(this.#body.id, start, end - start);
  }
}
