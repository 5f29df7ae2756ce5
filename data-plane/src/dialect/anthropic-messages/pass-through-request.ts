/** Reads a request in one pass over its bytes, for the pass-through lane. */
import type { Operation } from '@meridian/domain/dialect';
import { isMeter } from '@meridian/domain/usage';
import { CACHE_CONTROL, type CacheTally, noteLifetime } from '../cache-lifetime.ts';
import type { PassThroughRequest, RequestEdits, RequestFacts, ShownMeter } from '../dialect.ts';
import { IMAGE_MAX_TOKENS } from '../input-bounds.ts';
import { emptyTally, endMessage, type InputTally, inputTokensBound, noteReference } from '../input-tally.ts';
import { invalid, isObject, modelName, optionalBoolean, optionalPositiveInteger } from '../json.ts';
import { type Edit, type JsonCursor, knownKey, noteOnce, type Span, splice, valueAt } from '../json-scanner.ts';
import { openBody, readRequestBody } from '../request-body.ts';
import { foreignProofEdits, mayHoldForeignProof } from './foreign-proof.ts';
import { isClientTool, MESSAGES_KEYS, refusePricedApart, requestedTier, thinkingType } from './schema.ts';

/** A tool that the provider has described itself: what it puts into the prompt for it, above the longest it has published. */
const OWN_TOOL_TOKENS = 2_048;
/** Each is noted, and priced, apart. No provider has near so many. */
const MAX_HOSTED_TOOLS = 128;
/** A model calls a tool of its provider as often as it likes, where the request does not say; more than this is seen with none. */
const HOSTED_TOOL_CALLS = 16;

type MessagesTally = InputTally & CacheTally;

/** Throws GatewayError 400 with the parameter at fault. */
export function readPassThrough(_operation: Operation, body: Buffer): PassThroughRequest {
  return readRequestBody(body, () => read(body, true));
}

/** A request whose tokens are to be counted: the same but for the output limit, which it does not have. */
export function readUnlimited(body: Buffer): PassThroughRequest {
  return readRequestBody(body, () => read(body, false));
}

function read(body: Buffer, hasLimit: boolean): PassThroughRequest {
  const spans = new Map<string, Span>();
  const tally: MessagesTally = { ...emptyTally(), hourOfCache: undefined };
  const cursor = openBody(body);
  let tools: ToolFacts = { own: 0, shown: [] };
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = knownKey(cursor, MESSAGES_KEYS);
    const start = cursor.position;
    if (key === 'messages') walkMessages(cursor, tally);
    else if (key === 'tools') tools = walkTools(cursor, tally);
    else if (key === 'system' && cursor.peek() === 'array') walkBlocks(cursor, tally, 'system');
    else if (key === CACHE_CONTROL) noteLifetime(cursor, tally, '');
    else cursor.skipValue();
    if (key !== undefined) noteOnce(spans, key, { start, end: cursor.position });
  }
  cursor.finish();

  const field = (key: string): unknown => {
    const span = spans.get(key);
    return span === undefined ? undefined : valueAt(body, span);
  };
  const model = modelName(field('model'));
  if (!spans.has('messages')) throw invalid("The parameter 'messages' is missing.", 'messages');
  if (tally.messages === 0) throw invalid("The parameter 'messages' may not be empty.", 'messages');
  const stream = optionalBoolean(field('stream'), 'stream');
  const limit = hasLimit ? optionalPositiveInteger(field('max_tokens'), 'max_tokens') : undefined;
  if (hasLimit && limit === undefined) throw invalid("The parameter 'max_tokens' is missing.", 'max_tokens');
  refusePricedApart(field);
  const servers = field('mcp_servers') ?? [];
  if (!Array.isArray(servers)) throw invalid("The parameter 'mcp_servers' must be an array.", 'mcp_servers');
  if (servers.length > 0) noteReference(tally, 'mcp_servers');
  if ((field('container') ?? null) !== null) noteReference(tally, 'container');
  const facts: RequestFacts = {
    operation: 'chat',
    model,
    stream,
    wantsStreamUsage: stream,
    maxOutputTokens: limit,
    choices: 1,
    serviceTier: requestedTier(field('service_tier')),
    inputTokensBound: inputTokensBound(body, tally) + tools.own * OWN_TOOL_TOKENS,
    longestMessageBytes: tally.longestMessageBytes,
    readsBeyondBody: tally.readsBeyondBody,
    unbounded: tally.unbounded,
    takesOutputLimit: false,
    images: 0,
    beyondText: [
      ...(tally.vision === undefined ? [] : [{ meter: 'image_in' as const, param: tally.vision, atMost: undefined }]),
      ...(tally.hourOfCache === undefined ? [] : [{ meter: 'cache_write_1h' as const, param: tally.hourOfCache, atMost: undefined }]),
      ...tools.shown,
    ],
    needs: readNeeds(tally, field),
  };
  return { facts, rewrite: (edits) => splice(body, editsOf(body, spans, facts, edits)) };
}

function editsOf(body: Buffer, spans: ReadonlyMap<string, Span>, facts: RequestFacts, edits: RequestEdits): Edit[] {
  const list: Edit[] = [];
  const model = spans.get('model');
  if (model !== undefined && facts.model !== edits.model) list.push({ ...model, text: JSON.stringify(edits.model) });
  if (mayHoldForeignProof(body)) list.push(...foreignProofEdits(body, spans));
  return list;
}

function walkMessages(cursor: JsonCursor, tally: MessagesTally): void {
  if (cursor.peek() !== 'array') throw invalid("The parameter 'messages' must be an array.", 'messages');
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    const param = `messages[${tally.messages}]`;
    if (cursor.peek() !== 'object') throw invalid(`The parameter '${param}' must be an object.`, param);
    tally.messages++;
    tally.messageBytes = 0;
    cursor.openObject();
    for (let firstKey = true; cursor.nextKey(firstKey); firstKey = false) {
      const key = cursor.key();
      const kind = cursor.peek();
      if (key === 'content' && kind === 'array') {
        walkBlocks(cursor, tally, `${param}.content`);
        continue;
      }
      const { start, end } = cursor.skipValue();
      if (key === 'content') tally.messageBytes += end - start;
    }
    endMessage(tally);
  }
}

/** The blocks of a message, of the system's words, of a result, or of a document: each of these can hold the others. */
function walkBlocks(cursor: JsonCursor, tally: MessagesTally, param: string): void {
  cursor.openArray();
  let blocks = 0;
  for (let first = true; cursor.nextElement(first); first = false) {
    const at = `${param}[${blocks++}]`;
    if (cursor.peek() === 'object') walkBlock(cursor, tally, at);
    else cursor.skipValue();
  }
}

/**
 * The members come in any order, so what a block is may be told after what it holds: the source is noted, and judged at the end. A block
 * that writes a name twice is the upstream's to judge; only bytes of pictures are taken out, and each has its maximum put in.
 */
function walkBlock(cursor: JsonCursor, tally: MessagesTally, param: string): void {
  let type: unknown;
  let source: Source | undefined;
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = cursor.key();
    const kind = cursor.peek();
    if (key === 'content' && kind === 'array') walkBlocks(cursor, tally, `${param}.content`);
    // What a tool of the provider has fetched stands in an object of its own, and in it a document.
    else if (key === 'content' && kind === 'object') walkBlock(cursor, tally, `${param}.content`);
    else if (key === 'source' && kind === 'object') source = walkSource(cursor, tally, `${param}.source`);
    else if (key === CACHE_CONTROL) noteLifetime(cursor, tally, `${param}.`);
    else {
      const span = cursor.skipValue();
      if (key === 'type') type = valueAt(cursor.body, span);
      else if ((key === 'text' || key === 'content') && kind === 'string') tally.messageBytes += span.end - span.start;
    }
  }
  if (type === 'image') {
    tally.vision ??= param;
    tally.mediaTokens += IMAGE_MAX_TOKENS;
    tally.mediaBytes += source?.imageBytes ?? 0;
  } else if (type === 'document') {
    if (source?.type !== 'text' && source?.type !== 'content') tally.readsBeyondBody = true;
    if (source?.type === 'url' || source?.type === 'file') noteReference(tally, param);
  } else if (type === 'container_upload') noteReference(tally, param);
}

interface Source {
  readonly type: unknown;
  /** Of its inline data, where that is a picture's. */
  readonly imageBytes: number;
}

function walkSource(cursor: JsonCursor, tally: MessagesTally, param: string): Source {
  let type: unknown;
  let bytes = 0;
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = cursor.key();
    const kind = cursor.peek();
    if (key === 'content' && kind === 'array') {
      walkBlocks(cursor, tally, `${param}.content`);
      continue;
    }
    const span = cursor.skipValue();
    if (key === 'type') type = valueAt(cursor.body, span);
    else if (key === 'data' && kind === 'string') bytes = span.end - span.start - 2;
    else if (key === 'content' && kind === 'string') tally.messageBytes += span.end - span.start;
  }
  return { type, imageBytes: type === 'base64' ? bytes : 0 };
}

interface ToolFacts {
  /** Those that the provider describes. */
  readonly own: number;
  readonly shown: readonly ShownMeter[];
}

/** Names of one tool that change with its versions: `web_search_20250305`. */
const TOOL_VERSIONS = /_\d{6,8}$/;
/** Tools of the provider that the client's program runs: they are described there, and read nothing by themselves. */
const RUN_BY_CLIENT: ReadonlySet<string> = new Set(['bash', 'text_editor', 'computer', 'memory']);
/** Tools that are priced by the call. What the others read and write is counted in tokens. */
const PRICED_BY_CALL: ReadonlySet<string> = new Set(['web_search', 'code_execution']);

function walkTools(cursor: JsonCursor, tally: MessagesTally): ToolFacts {
  const kind = cursor.peek();
  if (kind === 'null') {
    cursor.skipValue();
    return { own: 0, shown: [] };
  }
  if (kind !== 'array') throw invalid("The parameter 'tools' must be an array.", 'tools');
  const shown: ShownMeter[] = [];
  let own = 0;
  cursor.openArray();
  for (let first = true; cursor.nextElement(first); first = false) {
    if (cursor.peek() !== 'object') throw invalid("The items of 'tools' must be objects.", 'tools');
    const param = `tools[${tally.tools++}]`;
    const tool = readOwnTool(cursor, tally, param);
    if (isClientTool(tool.type)) continue;
    own++;
    if (own > MAX_HOSTED_TOOLS) throw invalid(`A request may ask for at most ${MAX_HOSTED_TOOLS} tools of the provider's own.`, 'tools');
    const name = String(tool.type).toLowerCase().replace(TOOL_VERSIONS, '');
    if (RUN_BY_CLIENT.has(name)) continue;
    noteReference(tally, param);
    shown.push(...metersOf(name, tool, param));
  }
  return { own, shown };
}

/** What is read of a tool; the schemas of clients' tools are long, and gone over. */
interface OwnTool {
  type?: unknown;
  max_uses?: unknown;
  model?: unknown;
}

function readOwnTool(cursor: JsonCursor, tally: MessagesTally, param: string): OwnTool {
  const tool: OwnTool = {};
  cursor.openObject();
  for (let first = true; cursor.nextKey(first); first = false) {
    const key = cursor.key();
    if (key === CACHE_CONTROL) {
      noteLifetime(cursor, tally, `${param}.`);
      continue;
    }
    const span = cursor.skipValue();
    if (key === 'type' || key === 'max_uses' || key === 'model') tool[key] = valueAt(cursor.body, span);
  }
  return tool;
}

function metersOf(name: string, tool: OwnTool, param: string): readonly ShownMeter[] {
  if (name === 'advisor') return advisorMeters(tool.model, param);
  if (!PRICED_BY_CALL.has(name)) return [];
  const { max_uses: most } = tool;
  const atMost = typeof most === 'number' && most >= 1 ? Math.min(Math.ceil(most), Number.MAX_SAFE_INTEGER) : HOSTED_TOOL_CALLS;
  return [{ meter: `per_tool_call:${name}`, param, atMost }];
}

/** A second model that is asked on the way has prices of its own. */
function advisorMeters(model: unknown, param: string): readonly ShownMeter[] {
  const variant = String(model).toLowerCase();
  return (['input', 'output'] as const).flatMap((component) => {
    const meter = `${component}:${variant}`;
    return isMeter(meter) ? [{ meter, param, atMost: undefined }] : [];
  });
}

function readNeeds(tally: MessagesTally, field: (key: string) => unknown): readonly string[] {
  const needs: string[] = [];
  if (tally.tools > 0) needs.push('tools');
  if (tally.vision !== undefined) needs.push('vision');
  const config = field('output_config');
  const format = (isObject(config) ? config.format : undefined) ?? field('output_format');
  if (isObject(format) && format.type === 'json_schema') needs.push('json_schema');
  const thinking = thinkingType(field('thinking'));
  if (thinking === 'enabled' || thinking === 'adaptive') needs.push('reasoning');
  return needs;
}
