import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertUsage, inputTokens, outputTokens, type Usage } from '@meridian/domain/usage';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as anthropicMessages from './anthropic-messages/usage.ts';
import * as bedrockConverse from './bedrock-converse/usage.ts';
import * as cohereChat from './cohere-chat/usage.ts';
import * as gemini from './gemini/usage.ts';
import * as openaiChat from './openai-chat/usage.ts';
import * as openaiResponses from './openai-responses/usage.ts';
import { addToolCalls, count, isUsageObject, mergeUsage, takeParts, type UsageDraft, type UsageObject } from './usage-object.ts';

/** What a provider may write where a count belongs, and what it may not. */
const number = fc.oneof(
  { weight: 6, arbitrary: fc.nat(5_000) },
  fc.constantFrom(null, undefined, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, '7', true, [], {}),
);
const record = (...keys: readonly string[]) => fc.record(Object.fromEntries(keys.map((key) => [key, number])), { requiredKeys: [] });
const perhaps = (value: fc.Arbitrary<unknown>) => fc.oneof({ weight: 4, arbitrary: value }, fc.constantFrom(null, undefined, 5, 'x', []));
const modalities = perhaps(
  fc.array(
    perhaps(fc.record({ modality: fc.constantFrom('TEXT', 'AUDIO', 'IMAGE', 'VIDEO', 'DOCUMENT', 'SMELL', null), tokenCount: number })),
    {
      maxLength: 4,
    },
  ),
);
const merged = (...parts: readonly fc.Arbitrary<object>[]): fc.Arbitrary<UsageObject> =>
  fc.tuple(...parts).map((all) => Object.assign({}, ...all) as UsageObject);

const DETAILS = ['cached_tokens', 'cache_write_tokens', 'audio_tokens', 'image_tokens', 'video_tokens', 'reasoning_tokens'];
const creation = perhaps(record('ephemeral_5m_input_tokens', 'ephemeral_1h_input_tokens'));
const anthropic = merged(
  record('input_tokens', 'output_tokens', 'cache_creation_input_tokens', 'cache_read_input_tokens'),
  fc.record({ cache_creation: creation, server_tool_use: perhaps(record('web_search_requests', 'web_fetch_requests')) }),
);

interface Reader {
  readonly name: string;
  readonly read: (raw: unknown) => Usage | undefined;
  readonly raw: fc.Arbitrary<UsageObject>;
  /** The whole of the input and of input and output as the provider tells them, where it tells both in whole numbers. */
  readonly wholes?: (raw: UsageObject) => { readonly input: number | undefined; readonly all: number | undefined };
}

const READERS: readonly Reader[] = [
  {
    name: 'openai-chat',
    read: openaiChat.readUsage,
    raw: merged(
      record('prompt_tokens', 'completion_tokens', 'total_tokens', 'num_cached_tokens', 'num_search_queries', 'reasoning_tokens'),
      fc.record({ prompt_tokens_details: perhaps(record(...DETAILS)), completion_tokens_details: perhaps(record(...DETAILS)) }),
      fc.record({ server_tool_use: perhaps(record('web_search_requests')) }),
    ),
    wholes: (raw) => ({
      input: count(raw, 'prompt_tokens'),
      all: whole(count(raw, 'prompt_tokens'), count(raw, 'completion_tokens'), raw.total_tokens),
    }),
  },
  {
    name: 'openai-responses',
    read: openaiResponses.readUsage,
    raw: merged(
      record('input_tokens', 'output_tokens', 'total_tokens'),
      fc.record({ input_tokens_details: perhaps(record(...DETAILS)), output_tokens_details: perhaps(record(...DETAILS)) }),
    ),
    wholes: (raw) => ({
      input: count(raw, 'input_tokens'),
      all: whole(count(raw, 'input_tokens'), count(raw, 'output_tokens'), raw.total_tokens),
    }),
  },
  {
    name: 'anthropic-messages',
    read: anthropicMessages.readUsage,
    raw: merged(
      anthropic,
      fc.record({
        iterations: perhaps(
          fc.array(
            merged(
              anthropic,
              fc.record({
                type: fc.constantFrom('message', 'compaction', 'advisor_message'),
                model: fc.constantFrom('claude-x', 'A b', 5),
              }),
            ),
            { maxLength: 3 },
          ),
        ),
      }),
    ),
  },
  {
    name: 'gemini',
    read: gemini.readUsage,
    raw: merged(
      record(
        'promptTokenCount',
        'cachedContentTokenCount',
        'candidatesTokenCount',
        'thoughtsTokenCount',
        'toolUsePromptTokenCount',
        'totalTokenCount',
      ),
      fc.record({
        promptTokensDetails: modalities,
        cacheTokensDetails: modalities,
        candidatesTokensDetails: modalities,
        toolUsePromptTokensDetails: modalities,
      }),
    ),
    wholes: (raw) => {
      const prompt = count(raw, 'promptTokenCount');
      const input = prompt === undefined ? undefined : prompt + (count(raw, 'toolUsePromptTokenCount') ?? 0);
      const candidates = count(raw, 'candidatesTokenCount');
      const output = candidates === undefined ? undefined : candidates + (count(raw, 'thoughtsTokenCount') ?? 0);
      return { input, all: whole(input, output, raw.totalTokenCount) };
    },
  },
  {
    name: 'bedrock-converse',
    read: bedrockConverse.readUsage,
    raw: merged(
      record('inputTokens', 'outputTokens', 'cacheReadInputTokens', 'cacheWriteInputTokens', 'totalTokens'),
      fc.record({
        cacheDetails: perhaps(fc.array(perhaps(fc.record({ ttl: fc.constantFrom('5m', '1h', 7), inputTokens: number })), { maxLength: 3 })),
      }),
    ),
    wholes: (raw) => {
      const input = count(raw, 'inputTokens');
      const all =
        input === undefined ? undefined : input + (count(raw, 'cacheReadInputTokens') ?? 0) + (count(raw, 'cacheWriteInputTokens') ?? 0);
      return { input: all, all: undefined };
    },
  },
  {
    name: 'cohere-chat',
    read: cohereChat.readUsage,
    raw: merged(
      record('cached_tokens'),
      fc.record({
        billed_units: perhaps(record('input_tokens', 'output_tokens', 'image_tokens')),
        tokens: perhaps(record('input_tokens', 'output_tokens')),
      }),
    ),
  },
];

/** A total below its two parts is none. */
function whole(input: number | undefined, output: number | undefined, total: unknown): number | undefined {
  if (input === undefined || output === undefined) return undefined;
  const told = count({ total }, 'total');
  return told === undefined ? input + output : Math.max(told, input + output);
}

describe.each(READERS)('the usage reader of $name', ({ read, raw: raws, wholes }) => {
  it('gives whole units ≥ 0 or nothing, whatever it is given', () => {
    fc.assert(
      fc.property(fc.oneof(raws, fc.anything()), (raw) => {
        const usage = read(raw);
        if (usage !== undefined) assertUsage(usage);
      }),
      { numRuns: 2_000 },
    );
  });

  it.skipIf(wholes === undefined)('keeps the wholes that the provider tells, whatever their parts are said to be', () => {
    let compared = 0;
    fc.assert(
      fc.property(raws, (raw) => {
        const usage = read(raw);
        const { input, all } = wholes?.(raw) ?? {};
        if (usage === undefined || input === undefined) return;
        compared++;
        expect(inputTokens(usage)).toBe(input);
        if (all !== undefined) expect(inputTokens(usage) + outputTokens(usage)).toBe(all);
      }),
      { numRuns: 2_000 },
    );
    expect(compared).toBeGreaterThan(500);
  });
});

describe('parts of a whole', () => {
  it('are cut to what is left, and one that is not told is not put in', () => {
    const usage: UsageDraft = {};
    const left = takeParts(usage, 10, [
      ['cached_input', 4],
      ['audio_in', undefined],
      ['image_in', 9],
      ['cache_write_5m', 0],
    ]);
    expect([left, usage]).toEqual([0, { cached_input: 4, image_in: 6, cache_write_5m: 0 }]);
  });

  it('of one kind add up, and no calls are nothing to note', () => {
    const usage: UsageDraft = { input: 1 };
    addToolCalls(usage, 'web_search', 2);
    addToolCalls(usage, 'web_search', 3);
    addToolCalls(usage, 'file_search', 0);
    addToolCalls(usage, 'file_search', undefined);
    expect(usage).toEqual({ input: 1, 'per_tool_call:web_search': 5 });
  });

  it('survive a later report that leaves them out', () => {
    expect(mergeUsage({ a: 1, b: { c: 2, d: 3 } }, { a: null, b: { d: 4 }, e: 5 })).toEqual({ a: 1, b: { c: 2, d: 4 }, e: 5 });
  });
});

const FIXTURES = join(import.meta.dirname, '../../../../shared/fixtures/open');
const present = existsSync(FIXTURES);
if (!present) console.log(`skipped: no recorded answers in ${FIXTURES}`);

/** Every usage object of these names in the recorded answers of some providers, from whole bodies and from events. */
function recorded(folders: readonly string[], names: readonly string[]): [string, UsageObject][] {
  const found: [string, UsageObject][] = [];
  const visit = (value: unknown, source: string): void => {
    if (Array.isArray(value)) for (const item of value) visit(item, source);
    if (!isUsageObject(value)) return;
    for (const [key, member] of Object.entries(value)) {
      if (names.includes(key) && isUsageObject(member)) found.push([source, member]);
      visit(member, source);
    }
  };
  for (const folder of folders) {
    for (const name of readdirSync(join(FIXTURES, folder))) {
      if (name.endsWith('.meta.json')) continue;
      const text = readFileSync(join(FIXTURES, folder, name), 'utf8');
      for (const line of name.endsWith('.json') ? [text] : text.split(/\r?\n/)) {
        const start = line.search(/[{[]/);
        if (start === -1 || !/usage/i.test(line)) continue;
        try {
          visit(JSON.parse(line.slice(start)), `${folder}/${name}`);
        } catch {
          // A line that was cut when it was recorded.
        }
      }
    }
  }
  return found;
}

describe.skipIf(!present)('recorded answers', () => {
  const sumsUp = (read: (raw: unknown) => Usage | undefined, found: readonly [string, UsageObject][], total: string): number => {
    let compared = 0;
    for (const [source, raw] of found) {
      const usage = read(raw);
      if (usage === undefined || typeof raw[total] !== 'number') continue;
      assertUsage(usage);
      expect(`${source} ${inputTokens(usage) + outputTokens(usage)}`).toBe(`${source} ${raw[total]}`);
      compared++;
    }
    return compared;
  };

  it('of Gemini sum to their totals', () => {
    expect(
      sumsUp(gemini.readUsage, recorded(['gemini/generate', 'vertex/generate'], ['usageMetadata']), 'totalTokenCount'),
    ).toBeGreaterThan(40);
  });

  it('of Responses sum to their totals', () => {
    const folders = ['openai', 'azure', 'azure-ai', 'xai', 'openrouter', 'deepseek', 'bedrock-mantle'].map(
      (provider) => `${provider}/responses`,
    );
    expect(sumsUp(openaiResponses.readUsage, recorded(folders, ['usage']), 'total_tokens')).toBeGreaterThan(30);
  });

  it('of Bedrock sum to their totals', () => {
    expect(sumsUp(bedrockConverse.readUsage, recorded(['bedrock/converse'], ['usage']), 'totalTokens')).toBeGreaterThan(1);
  });

  it('of Messages are all read', () => {
    const found = recorded(['anthropic/messages'], ['usage']);
    for (const [, raw] of found) assertUsage(anthropicMessages.readUsage(raw) ?? {});
    expect(found.filter(([, raw]) => anthropicMessages.readUsage(raw) === undefined)).toEqual([]);
    expect(found.length).toBeGreaterThan(30);
  });
});
