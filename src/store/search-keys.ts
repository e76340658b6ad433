// What a search program needs: texts in the form in which they are compared, and what has to be read of
// messages that the columns don't decide. Testing is search-test.ts's and search.ts's business.

import { searchNormalise } from "../mail/charset/unicode.ts";
import type { SearchKey } from "../mail/search-key.ts";

export interface SearchNeeds {
  readonly bodies: boolean;
  readonly headers: boolean;
  readonly texts: boolean;
  /** ENVELOPEs may spare bodies. */
  readonly envelopes: boolean;
  /** Texts that bodies are asked for. */
  readonly bodyTexts: readonly string[];
}

/** Search text in the form in which texts are compared; done once. */
export function prepare(key: SearchKey): SearchKey {
  switch (key.kind) {
    case "and":
      return { kind: "and", keys: key.keys.map(prepare) };
    case "or":
      return { kind: "or", a: prepare(key.a), b: prepare(key.b) };
    case "not":
      return { kind: "not", key: prepare(key.key) };
    case "header":
      return { ...key, name: key.name.toLowerCase(), text: searchNormalise(key.text) };
    case "body":
    case "text":
      return { ...key, text: searchNormalise(key.text) };
    default:
      return key;
  }
}

/** @param key prepared. */
export function needsOf(key: SearchKey): SearchNeeds {
  switch (key.kind) {
    case "and":
      return all(key.keys.map(needsOf));
    case "or":
      return all([needsOf(key.a), needsOf(key.b)]);
    case "not":
      return needsOf(key.key);
    case "header":
      return { ...nothing, bodies: true, headers: true, envelopes: isInEnvelope(key) };
    case "text":
      return { ...nothing, bodies: true, headers: true, texts: true, bodyTexts: [key.text] };
    case "body":
      return { ...nothing, bodies: true, texts: true, bodyTexts: [key.text] };
    default:
      return nothing;
  }
}

/**
 * True when an ENVELOPE that has the text shows that the header has it, too. It holds the first Subject
 * with its blanks squeezed: a text without any that is found there is found in the field. One that is
 * not found may be in a second Subject.
 */
export function isInEnvelope({
  name,
  text,
}: {
  readonly name: string;
  readonly text: string;
}): boolean {
  return name === "subject" && !/\s/.test(text);
}

const nothing: SearchNeeds = {
  bodies: false,
  headers: false,
  texts: false,
  envelopes: false,
  bodyTexts: [],
};

function all(needs: readonly SearchNeeds[]): SearchNeeds {
  return {
    bodies: needs.some(({ bodies }) => bodies),
    headers: needs.some(({ headers }) => headers),
    texts: needs.some(({ texts }) => texts),
    envelopes: needs.some(({ envelopes }) => envelopes),
    bodyTexts: needs.flatMap(({ bodyTexts }) => bodyTexts),
  };
}
