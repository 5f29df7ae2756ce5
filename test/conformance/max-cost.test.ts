/**
 * Requests with the usage that their providers counted, held against the bounds that admission reserves by: no usage is
 * above them, and how far below it stays is printed. The same for inputs that are counted exactly, where their tokenizer
 * is known.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { type Estimate, estimate } from '@meridian/data-plane/admission/estimate';
import { TokenCounter } from '@meridian/data-plane/admission/token-counter';
import { encodingOf } from '@meridian/data-plane/admission/tokenizers';
import { inputText } from '@meridian/data-plane/dialect/openai-chat/input-text';
import { readPassThrough } from '@meridian/data-plane/dialect/openai-chat/pass-through-request';
import { readUsage } from '@meridian/data-plane/dialect/openai-chat/usage';
import type { Operation } from '@meridian/domain/dialect';
import { rate } from '@meridian/domain/rating';
import { inputTokens, outputTokens, type Usage } from '@meridian/domain/usage';
import { afterAll, describe, expect, it } from 'vitest';

const FIXTURES = new URL('../../../shared/fixtures/open/', import.meta.url);
const present = existsSync(FIXTURES);
if (!present) console.log('recorded requests: skipped, ../shared/fixtures is not there');

/** Dearest components that differ, a step, and a tier of its own, so that each of them would show. */
const PRICE = {
  modelId: 'm',
  version: 1,
  effectiveFromMs: 0,
  cards: [
    {
      serviceTier: 'standard',
      aboveInputTokens: 0,
      prices: { input: 2_500_000_000n, cached_input: 250_000_000n, output: 15_000_000_000n },
    },
    { serviceTier: 'standard', aboveInputTokens: 5_000, prices: { input: 5_000_000_000n, audio_in: 9_000_000_000n } },
    {
      serviceTier: 'priority',
      aboveInputTokens: 0,
      prices: { input: 5_000_000_000n, cache_write_5m: 6_000_000_000n, output: 30_000_000_000n },
    },
  ],
} as const;
const MODEL = { contextTokens: 200_000, maxOutputTokens: 64_000 };
const MARKUP_BASIS_POINTS = 4_000;

interface Counted {
  readonly name: string;
  readonly operation: Operation;
  readonly body: Buffer;
  readonly usage: Usage;
}

/** The bounds of a request on a node without a lease. */
function boundOf({ operation, body }: Counted): Estimate {
  const { facts } = readPassThrough(operation, body);
  // What has no bound of its own is refused without a limit; its input is bounded all the same.
  const asked = { ...facts, maxOutputTokens: facts.maxOutputTokens ?? (facts.unbounded === undefined ? undefined : MODEL.maxOutputTokens) };
  const ways = { listPrice: PRICE, candidates: [{ model: MODEL, listPrice: PRICE }] };
  return estimate(asked, ways, MARKUP_BASIS_POINTS, () => ({ free: Number.MAX_SAFE_INTEGER, inFlight: 0 }));
}

function expectWithin(counted: Counted): Estimate {
  const bound = boundOf(counted);
  const { usage } = counted;
  expect({ name: counted.name, input: inputTokens(usage) <= bound.demand.inputTokens }).toEqual({ name: counted.name, input: true });
  expect({ name: counted.name, output: outputTokens(usage) <= bound.demand.outputTokens }).toEqual({ name: counted.name, output: true });
  for (const serviceTier of [bound.demand.serviceTier, 'standard'] as const) {
    const { amountNano } = rate(usage, PRICE.cards, { serviceTier, markupBasisPoints: MARKUP_BASIS_POINTS });
    expect({ name: counted.name, cost: amountNano <= bound.maxCostNano }).toEqual({ name: counted.name, cost: true });
  }
  return bound;
}

const TOOL = {
  type: 'function',
  function: {
    name: 'weather',
    description: 'Gets current weather for a location',
    parameters: { type: 'object', properties: { latitude: { type: 'string' } }, required: ['latitude'] },
  },
};
const user = (content: unknown): object => ({ messages: [{ role: 'user', content }] });

/** Small requests with what providers count for them at most, vendor by vendor. */
const KNOWN: readonly (readonly [name: string, fields: object, usage: Usage])[] = [
  ['a greeting, where the vendor puts an instruction before it', user('Hi'), { input: 690, output: 20 }],
  ['a question and its tools', { ...user('What is the weather in Berlin?'), tools: [TOOL] }, { input: 366, output: 53 }],
  ['a tool without a word of description', { ...user('x'), tools: [{ type: 'function', function: { name: 'f' } }] }, { input: 900 }],
  ['text of which each byte is a token', user('\u{1F9EC}𒀀'.repeat(500)), { input: 4_000 }],
  ['text that JSON escapes', user('\\'.repeat(300)), { input: 300 }],
  [
    'a picture on the model with the dearest tiles',
    user([{ type: 'image_url', image_url: { url: 'https://x.y/a.png' } }]),
    { input: 48_169 },
  ],
  [
    'a picture in low detail, where detail is not heeded',
    user([{ type: 'image_url', image_url: { url: 'data:image/png;base64,AA', detail: 'low' } }]),
    { input: 16_384 },
  ],
  [
    'a minute of speech in the leanest codec',
    user([{ type: 'input_audio', input_audio: { data: 'A'.repeat(60_000), format: 'opus' } }]),
    { audio_in: 1_920, input: 12 },
  ],
  ['a document of blank pages', { ...user([{ type: 'file', file: { file_data: 'A'.repeat(2_000) } }]), max_tokens: 9 }, { input: 199_000 }],
  ['what a search finds', { ...user('News?'), web_search_options: {}, max_tokens: 9 }, { input: 190_000, output: 9 }],
  ['three answers', { ...user('Hi'), n: 3, max_tokens: 10 }, { input: 12, output: 30 }],
  [
    'an input that was written to a cache, in the dearer tier',
    { ...user('x'.repeat(9_000)), service_tier: 'priority' },
    { cache_write_5m: 4_000 },
  ],
];

describe('the bound of a request', () => {
  it.each(KNOWN)('holds for %s', (name, fields, usage) => {
    expectWithin({ name, operation: 'chat', body: Buffer.from(JSON.stringify({ model: 'm', ...fields })), usage });
  });

  it('holds for texts and tokens to embed', () => {
    for (const [input, tokens] of [['éa'.repeat(900), 2_700] as const, [[[1, 2, 3], [4]], 4] as const]) {
      const body = Buffer.from(JSON.stringify({ model: 'm', input }));
      expect(expectWithin({ name: 'embeddings', operation: 'embeddings', body, usage: { input: tokens } }).demand.outputTokens).toBe(0);
    }
  });
});

const counter = new TokenCounter({ after: () => ({ cancel: () => {} }), log: { info: () => {}, warn: () => {} } });
afterAll(() => counter.close());

/** The bound of the input with its text counted; undefined where the model's tokenizer is not known. */
async function countedBoundOf({ operation, body }: Pick<Counted, 'operation' | 'body'>): Promise<number | undefined> {
  const { facts } = readPassThrough(operation, body);
  const encoding = encodingOf([{ id: facts.model }]);
  if (encoding === undefined) return undefined;
  const { texts, otherTokensBound } = inputText(operation, body, facts.inputTokensBound);
  const tokens = await new Promise<number | undefined>((resolve) => counter.count(encoding, texts, resolve));
  if (tokens === undefined) throw new Error('not counted');
  return otherTokensBound + tokens;
}

/** As their vendor counted or documents them; `above` is how many tokens more the bound may say. */
const COUNTED: readonly (readonly [name: string, model: string, fields: object, inputTokens: number, above: number])[] = [
  ['a greeting', 'gpt-4o', user('Hi'), 8, 60],
  ['a greeting, in the older encoding', 'gpt-4', user('Hi'), 8, 60],
  [
    'messages with names',
    'gpt-4o',
    {
      messages: [
        {
          role: 'system',
          content: 'You are a helpful, pattern-following assistant that translates corporate jargon into plain English.',
        },
        { role: 'system', name: 'example_user', content: 'New synergies will help drive top-line growth.' },
        { role: 'system', name: 'example_assistant', content: 'Things working well together will increase revenue.' },
        {
          role: 'system',
          name: 'example_user',
          content: "Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage.",
        },
        { role: 'system', name: 'example_assistant', content: "Let's talk later when we're less busy about how to do better." },
        {
          role: 'user',
          content: "This late pivot means we don't have time to boil the ocean for the client deliverable.",
        },
      ],
    },
    124,
    400,
  ],
  ['a long text of words that are a token each', 'gpt-4o', user('the quick brown fox jumps over it. '.repeat(1_000)), 8_008, 60],
  ['a mark of the chat format, which is text', 'gpt-4', user('<|endoftext|>'), 14, 60],
  [
    'a text in parts',
    'gpt-4o',
    user([
      { type: 'text', text: 'the quick brown fox ' },
      { type: 'text', text: 'jumps over it.' },
    ]),
    16,
    150,
  ],
];

describe('the exact count of an input', () => {
  it.each(COUNTED)('is no less than the vendor’s, and near it, for %s', async (_, model, fields, inputTokens, above) => {
    const body = Buffer.from(JSON.stringify({ model, ...fields }));
    const bound = await countedBoundOf({ operation: 'chat', body });
    expect(bound).toBeGreaterThanOrEqual(inputTokens);
    expect(bound).toBeLessThanOrEqual(inputTokens + above);
    expect(bound).toBeLessThan(boundOf({ name: '', operation: 'chat', body, usage: {} }).demand.inputTokens);
  });
});

interface Sidecar {
  readonly request?: { readonly body?: unknown; readonly body_has_omissions?: boolean };
}

/** What the fixtures hold of this dialect, by why it is or is not compared. */
function recorded(): { readonly compared: Counted[]; readonly shortened: string[]; readonly unreadable: string[] } {
  const compared: Counted[] = [];
  const shortened: string[] = [];
  const unreadable: string[] = [];
  for (const provider of readdirSync(FIXTURES, { withFileTypes: true }).filter((entry) => entry.isDirectory())) {
    for (const [api, operation] of [
      ['chat', 'chat'],
      ['embeddings', 'embeddings'],
    ] as const) {
      const folder = new URL(`${provider.name}/${api}/`, FIXTURES);
      for (const file of existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.meta.json')) : []) {
        const name = `${provider.name}/${api}/${file}`;
        const { request } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Sidecar;
        const usage = usageIn(readFileSync(new URL(file.replace(/\.meta\.json$/, ''), folder), 'utf8'));
        if (usage === undefined || typeof request?.body !== 'object' || request.body === null) continue;
        const counted = { name, operation, body: Buffer.from(JSON.stringify(request.body)), usage };
        if (request.body_has_omissions === true) shortened.push(name);
        else if (readable(counted)) compared.push(counted);
        else unreadable.push(name);
      }
    }
  }
  return { compared, shortened, unreadable };
}

function readable(counted: Counted): boolean {
  try {
    readPassThrough(counted.operation, counted.body);
    return true;
  } catch {
    return false;
  }
}

/** Of a body or of a stream's last event that has one. */
function usageIn(text: string): Usage | undefined {
  const events = text.startsWith('{') ? [text] : text.split(/\r?\n/).flatMap((line) => (line.startsWith('data: {') ? [line.slice(6)] : []));
  let usage: Usage | undefined;
  for (const event of events) usage = readUsage((JSON.parse(event) as { readonly usage?: unknown }).usage) ?? usage;
  return usage;
}

describe.skipIf(!present)('the bound of every recorded request', () => {
  it('holds', () => {
    const { compared, shortened, unreadable } = recorded();
    const looseness = compared
      .map((counted) => expectWithin(counted).demand.inputTokens / Math.max(1, inputTokens(counted.usage)))
      .sort((a, b) => a - b);
    const at = (share: number): string => (looseness[Math.floor((looseness.length - 1) * share)] ?? 0).toFixed(1);
    console.log(
      `bound ÷ counted input tokens: median ${at(0.5)}, p95 ${at(0.95)}, least ${at(0)} of ${compared.length}; ${shortened.length} recorded without all of their text`,
    );
    expect(compared.length).toBeGreaterThan(40);
    // Of those only what cannot be a request of ours: a service tier that its provider alone knows.
    expect(unreadable).toEqual(['groq/chat/pa-reasoning-wire-contract-groq-qwen3-disable-merges-user-extra-body.json.meta.json']);
  });
});

describe.skipIf(!present)('the exact count of every recorded request of a model whose tokenizer is known', () => {
  it('is no less than what its vendor counted', async () => {
    const above: { readonly tokens: number; readonly factor: number }[] = [];
    for (const counted of recorded().compared) {
      const bound = await countedBoundOf(counted);
      if (bound === undefined) continue;
      const actual = inputTokens(counted.usage);
      expect({ name: counted.name, within: actual <= bound }).toEqual({ name: counted.name, within: true });
      above.push({ tokens: bound - actual, factor: bound / Math.max(1, actual) });
    }
    above.sort((a, b) => a.tokens - b.tokens);
    const at = (share: number): string => {
      const { tokens, factor } = above[Math.floor((above.length - 1) * share)] ?? { tokens: 0, factor: 0 };
      return `${tokens} (${factor.toFixed(1)}-fold)`;
    };
    console.log(`exact count − counted input tokens: least ${at(0)}, median ${at(0.5)}, most ${at(1)} of ${above.length}`);
    expect(above.length).toBeGreaterThan(10);
  });
});
