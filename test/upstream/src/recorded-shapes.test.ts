import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isObject, type JsonObject, type JsonValue } from './json-value.ts';
import { recordedBytes } from './replay.ts';
import { startUpstream, type Upstream } from './server.ts';
import { ask, eventsOf, wireNamed } from './testing.ts';

const RECORDINGS = fileURLToPath(new URL('../../../../shared/fixtures/open', import.meta.url));

let upstream: Upstream;
beforeAll(async () => {
  upstream = await startUpstream({ port: 0, paceMs: 0 });
});
afterAll(() => upstream.close());

/** What belongs to the caller or is different in every call. */
const OPAQUE = new Set(['input', 'args', 'tools', 'metadata', 'instructions', 'arguments', 'logprobs', 'groundingMetadata', 'format']);

/** The paths of all fields, arrays as `[]`. */
function fieldsOf(value: JsonValue | undefined, at: string, into: Set<string>): void {
  if (Array.isArray(value)) for (const item of value) fieldsOf(item, `${at}[]`, into);
  if (!isObject(value)) return;
  // A typed object is a shape of its own.
  const own = typeof value.type === 'string' && at !== '' ? `${at}<${value.type}>` : at;
  for (const [name, inner] of Object.entries(value)) {
    into.add(`${own}.${name}`);
    if (!OPAQUE.has(name)) fieldsOf(inner, `${own}.${name}`, into);
  }
}

interface Shapes {
  /** Of each kind of event. */
  fields: Map<string, Set<string>>;
  /** `kind → kind` of neighbours. */
  steps: Set<string>;
}

function kindOf(event: JsonObject): string {
  return typeof event.type === 'string' ? event.type : 'chunk';
}

function collect(events: JsonObject[], shapes: Shapes): void {
  let before = 'start';
  for (const event of events) {
    const kind = kindOf(event);
    const fields = shapes.fields.get(kind) ?? new Set();
    fieldsOf(event, '', fields);
    shapes.fields.set(kind, fields);
    // A ping may come anywhere.
    if (kind === 'ping') continue;
    shapes.steps.add(`${before} → ${kind}`);
    before = kind;
  }
}

function recorded(folder: string): Shapes {
  const shapes: Shapes = { fields: new Map(), steps: new Set() };
  for (const file of readdirSync(join(RECORDINGS, folder))) {
    if (file.endsWith('.sse') || file.endsWith('.chunks.txt'))
      collect(eventsOf(recordedBytes(join(RECORDINGS, folder, file)).toString('utf8')), shapes);
  }
  return shapes;
}

const object = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] };
const CASES: Array<{ wire: string; folder: string; tools: JsonValue; more: JsonObject }> = [
  {
    wire: 'anthropic-messages',
    folder: 'anthropic/messages',
    tools: [{ name: 'get_weather', input_schema: object }],
    more: { thinking: { type: 'enabled', budget_tokens: 1024 } },
  },
  {
    wire: 'openai-responses',
    folder: 'openai/responses',
    tools: [{ type: 'function', name: 'get_weather', parameters: object }],
    more: { reasoning: { effort: 'low', summary: 'auto' }, include: ['reasoning.encrypted_content'] },
  },
  {
    wire: 'gemini',
    folder: 'gemini/generate',
    tools: [{ functionDeclarations: [{ name: 'get_weather', parametersJsonSchema: object }] }],
    more: { generationConfig: { thinkingConfig: { includeThoughts: true } } },
  },
];

/** Fields that the published description has and the recordings are too old for. */
const SINCE = ['response.function_call_arguments.done .name'];

const present = existsSync(RECORDINGS);
if (!present) console.info(`skipped: there are no recorded exchanges at ${RECORDINGS}`);

test.skipIf(!present).each(CASES)(
  '$wire streams what was recorded: no other field, no other order',
  async ({ wire, folder, tools, more }) => {
    const known = recorded(folder);
    const ours: Shapes = { fields: new Map(), steps: new Set() };
    for (const asked of [
      { text: 'red green' },
      { text: 'the weather in Oslo', more: { tools } },
      { text: 'red green', more },
      { text: 'the weather', more: { ...more, tools } },
    ]) {
      const { events } = await ask(upstream.origin, wireNamed(wire), { ...asked, stream: true });
      collect(events, ours);
    }
    const unheard = [...ours.fields].flatMap(([kind, fields]) =>
      [...fields].filter((field) => known.fields.get(kind)?.has(field) !== true).map((field) => `${kind} ${field}`),
    );
    expect(unheard.filter((field) => !SINCE.includes(field))).toEqual([]);
    expect([...ours.steps].filter((step) => !known.steps.has(step))).toEqual([]);
  },
);
