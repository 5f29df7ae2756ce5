/** The calls of Google's own tools, as the candidates of an answer show them: billed by the call. */
import { addToolCalls, isUsageObject, objectIn, type UsageDraft, type UsageObject } from '../usage-object.ts';

/** Beyond this many different ones the queries of a candidate are not told apart any more, and not counted. */
const MAX_QUERIES = 1_024;

/** Calls that are shown as parts of the answer, where the request asked for that. What reads an address costs only what is read. */
const CALLED_TOOLS: ReadonlyMap<unknown, Tool> = new Map([
  ['GOOGLE_SEARCH_WEB', 'web_search'],
  ['GOOGLE_SEARCH_IMAGE', 'web_search'],
  ['GOOGLE_MAPS', 'google_maps'],
  ['FILE_SEARCH', 'file_search'],
]);
const TOOLS = ['web_search', 'google_maps', 'file_search'] as const;
type Tool = (typeof TOOLS)[number];

/** Models of the first generations are billed by the grounded answer, the later ones by the query. */
const BILLED_BY_ANSWER = /^(models\/)?gemini-[12]([.-]|$)/;

interface Shown {
  readonly queries: Set<unknown>;
  /** Grounded in places of a map, in files: each is the work of one call at least. */
  inMaps: boolean;
  inFiles: boolean;
  readonly called: Record<Tool, number>;
}

/**
 * Adds up over the events of a stream, of which each may tell all that it was grounded in so far, or only what is new. Searches are
 * counted by their queries; for maps and files an answer lists no queries, so that grounding in them is one call where the calls
 * themselves are not shown.
 */
export class HostedCalls {
  readonly #candidates = new Map<unknown, Shown>();

  /** The candidates of an answer, or of an event of a stream. Whether they tell of calls. */
  add(candidates: unknown): boolean {
    let tells = false;
    if (!Array.isArray(candidates)) return tells;
    for (const [place, candidate] of candidates.entries()) if (isUsageObject(candidate) && this.#add(candidate, place)) tells = true;
    return tells;
  }

  /** What was called, as meters of the usage. */
  addTo(usage: UsageDraft, modelVersion: unknown): void {
    const byAnswer = typeof modelVersion === 'string' && BILLED_BY_ANSWER.test(modelVersion);
    for (const tool of TOOLS) {
      let calls = 0;
      for (const shown of this.#candidates.values()) calls += callsOf(shown, tool);
      addToolCalls(usage, tool, byAnswer ? Math.min(calls, 1) : calls);
    }
  }

  #add(candidate: UsageObject, place: number): boolean {
    const grounding = objectIn(candidate, 'groundingMetadata');
    const parts = objectIn(candidate, 'content')?.parts;
    const index = candidate.index ?? place;
    let tells = grounding !== undefined;
    if (grounding !== undefined) this.#ground(this.#shown(index), grounding);
    for (const part of Array.isArray(parts) ? parts : []) {
      const called = isUsageObject(part) ? objectIn(part, 'toolCall') : undefined;
      const tool = CALLED_TOOLS.get(called?.toolType);
      if (tool === undefined) continue;
      this.#shown(index).called[tool]++;
      tells = true;
    }
    return tells;
  }

  #shown(index: unknown): Shown {
    let shown = this.#candidates.get(index);
    if (shown === undefined) {
      shown = { queries: new Set(), inMaps: false, inFiles: false, called: { web_search: 0, google_maps: 0, file_search: 0 } };
      this.#candidates.set(index, shown);
    }
    return shown;
  }

  #ground(shown: Shown, grounding: UsageObject): void {
    for (const queries of [grounding.webSearchQueries, grounding.imageSearchQueries]) {
      for (const query of Array.isArray(queries) ? queries : []) if (shown.queries.size < MAX_QUERIES) shown.queries.add(query);
    }
    if (typeof grounding.googleMapsWidgetContextToken === 'string') shown.inMaps = true;
    for (const chunk of Array.isArray(grounding.groundingChunks) ? grounding.groundingChunks : []) {
      if (!isUsageObject(chunk)) continue;
      if (objectIn(chunk, 'maps') !== undefined) shown.inMaps = true;
      if (objectIn(chunk, 'retrievedContext') !== undefined) shown.inFiles = true;
    }
  }
}

function callsOf({ queries, inMaps, inFiles, called }: Shown, tool: Tool): number {
  const grounded = tool === 'web_search' ? queries.size : Number(tool === 'google_maps' ? inMaps : inFiles);
  return Math.max(grounded, called[tool]);
}
