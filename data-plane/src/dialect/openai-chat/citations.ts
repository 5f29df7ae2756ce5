/** Sources of an answer: annotations, and the lists that vendors put beside them. */
import type { Citation } from '../../canonical/message.ts';
import { isObject, type JsonObject, number, rest, text } from '../json.ts';

export function readCitation(annotation: JsonObject): Citation {
  const inner = isObject(annotation.url_citation) ? annotation.url_citation : annotation;
  return {
    url: text(inner.url),
    title: text(inner.title),
    start: number(inner.start_index),
    end: number(inner.end_index),
    rest: rest(inner, ['type', 'url', 'title', 'start_index', 'end_index']),
  };
}

/** Annotations are of addresses only: a place in a document that the client sent has none. */
export function hasAddress({ url }: Citation): boolean {
  return url !== undefined && url !== '';
}

/** Every annotation has a place here: a source of another dialect that has none stands at the begin of the text. */
export function writeCitation({ url, title, start, end, rest: others }: Citation, isOurs: boolean): JsonObject {
  const fields = isOurs
    ? { ...others, url, title, start_index: start, end_index: end }
    : { url: url ?? '', title: title ?? '', start_index: start ?? 0, end_index: end ?? 0 };
  return { type: 'url_citation', url_citation: fields };
}

/** Members of an answer, or of a chunk, that list what a provider searched for it. */
export const SOURCE_KEYS = ['citations', 'search_results'] as const;

/** Perplexity's list of addresses, with titles from its list of results; xAI's list has addresses only. */
export function readSources(answer: JsonObject): readonly Citation[] {
  const results = Array.isArray(answer.search_results) ? answer.search_results.filter(isObject) : [];
  const urls: readonly unknown[] = Array.isArray(answer.citations) ? answer.citations : results.map((result) => result.url);
  const citations: Citation[] = [];
  for (const url of urls) {
    if (typeof url !== 'string') continue;
    const title = text(results.find((result) => result.url === url)?.title);
    citations.push({ url, title, start: undefined, end: undefined, rest: {} });
  }
  return citations;
}
