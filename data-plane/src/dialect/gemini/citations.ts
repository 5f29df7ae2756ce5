/** Sources that an answer is grounded in: Google counts bytes of UTF-8, the canonical language characters. */
import type { Citation } from '../../canonical/message.ts';
import { isObject, type JsonObject, NO_REST, number, text } from '../json.ts';
import { fieldsOf, listOf } from './proto-json.ts';

/** The text of a longer answer is not kept, and places in it are not told. */
const MAX_TEXT_CHARACTERS = 1_000_000;

/** Places in a text that comes in pieces. */
export class TextPlaces {
  #text = '';
  #isPlain = true;
  #isWhole = true;

  add(piece: string): void {
    if (this.#text.length + piece.length > MAX_TEXT_CHARACTERS) this.#isWhole = false;
    if (!this.#isWhole) return;
    this.#text += piece;
    // Each character of these is one byte.
    if (this.#isPlain && Buffer.byteLength(piece) !== piece.length) this.#isPlain = false;
  }

  /** Undefined where the text is not kept, or is shorter. */
  characterAt(byte: number | undefined): number | undefined {
    if (byte === undefined || !this.#isWhole) return undefined;
    if (this.#isPlain) return byte <= this.#text.length ? byte : undefined;
    const bytes = Buffer.from(this.#text);
    return byte <= bytes.length ? bytes.toString('utf8', 0, byte).length : undefined;
  }

  byteAt(character: number | undefined): number | undefined {
    if (character === undefined || !this.#isWhole || character > this.#text.length) return undefined;
    return this.#isPlain ? character : Buffer.byteLength(this.#text.slice(0, character));
  }

  /** Where a text stands first. */
  find(text: string): { readonly start: number; readonly end: number } | undefined {
    const start = this.#isWhole ? this.#text.indexOf(text) : -1;
    return start === -1 ? undefined : { start, end: start + text.length };
  }

  slice(start: number | undefined, end: number | undefined): string | undefined {
    return end === undefined || !this.#isWhole ? undefined : this.#text.slice(start ?? 0, end);
  }
}

/** The sources that a candidate names: those that its text is grounded in, place by place, and those that it recites. */
export function readCitations(candidate: JsonObject, places: TextPlaces): readonly Citation[] {
  const grounding = fieldsOf(candidate.groundingMetadata);
  const chunks = listOf(grounding.groundingChunks).map(readChunk);
  const cited: Citation[] = [];
  for (const support of listOf(grounding.groundingSupports).filter(isObject)) {
    const { start, end } = placeOf(fieldsOf(support.segment), places);
    for (const index of listOf(support.groundingChunkIndices)) {
      const chunk = typeof index === 'number' ? chunks[index] : undefined;
      if (chunk !== undefined) cited.push({ ...chunk, start, end, rest: NO_REST });
    }
  }
  // Sources without a place in the text support all of it.
  if (cited.length === 0) cited.push(...chunks.map((chunk) => ({ ...chunk, start: undefined, end: undefined, rest: NO_REST })));
  for (const source of listOf(fieldsOf(candidate.citationMetadata).citationSources).filter(isObject)) {
    const { uri, startIndex, endIndex } = source;
    const place = { start: places.characterAt(number(startIndex)), end: places.characterAt(number(endIndex)) };
    cited.push({ url: text(uri), title: undefined, ...place, rest: NO_REST });
  }
  return cited;
}

/** Of a segment of one part or of all of the text: what stands there tells which. */
function placeOf(segment: JsonObject, places: TextPlaces): { readonly start: number | undefined; readonly end: number | undefined } {
  const start = places.characterAt(number(segment.startIndex) ?? 0);
  const end = places.characterAt(number(segment.endIndex));
  const words = text(segment.text);
  if (words === undefined || words === '' || (end !== undefined && places.slice(start, end) === words)) return { start, end };
  return places.find(words) ?? { start: undefined, end: undefined };
}

function readChunk(value: unknown): Pick<Citation, 'url' | 'title'> {
  const chunk = fieldsOf(value);
  const source = fieldsOf(chunk.web ?? chunk.retrievedContext ?? chunk.maps);
  return { url: text(source.uri), title: text(source.title) };
}

/** A candidate's `groundingMetadata`; undefined where nothing is cited. */
export function writeGrounding(citations: readonly Citation[], places: TextPlaces): JsonObject | undefined {
  if (citations.length === 0) return undefined;
  const chunks: JsonObject[] = [];
  const known = new Map<string, number>();
  const supports: JsonObject[] = [];
  for (const { url, title, start, end } of citations) {
    const key = JSON.stringify([url, title]);
    let index = known.get(key);
    if (index === undefined) {
      index = chunks.length;
      known.set(key, index);
      chunks.push({ web: { uri: url, title } });
    }
    const endIndex = places.byteAt(end);
    if (endIndex === undefined) continue;
    const segment = { startIndex: places.byteAt(start), endIndex, text: places.slice(start, end) };
    supports.push({ segment, groundingChunkIndices: [index] });
  }
  return { groundingChunks: chunks, ...(supports.length === 0 ? {} : { groundingSupports: supports }) };
}
