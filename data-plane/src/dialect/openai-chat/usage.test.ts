import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { assertUsage, inputTokens, outputTokens } from '@meridian/domain/usage';
import { describe, expect, it } from 'vitest';
import { mergeUsage } from '../usage-object.ts';
import { readUsage, writeUsage } from './usage.ts';

const SHARED = join(import.meta.dirname, '../../../../../shared');
const FIXTURES = join(SHARED, 'fixtures/open');
const RECORDED = join(SHARED, 'data/usage-prices-recorded.json');
const present = existsSync(FIXTURES) && existsSync(RECORDED);
if (!present) console.log(`skipped: no recorded usage in ${SHARED}`);

/** Every object in the recordings that has `prompt_tokens`, with where it came from. */
function recordedUsages(): [string, Record<string, number>][] {
  const found: [string, Record<string, number>][] = [];
  const visit = (value: unknown, source: string): void => {
    if (typeof value !== 'object' || value === null) return;
    if ('prompt_tokens' in value && !Array.isArray(value)) found.push([source, { ...value } as Record<string, number>]);
    for (const member of Object.values(value)) visit(member, source);
  };
  for (const name of readdirSync(FIXTURES, { recursive: true, encoding: 'utf8' })) {
    if (!/\.(json|jsonl|sse|txt)$/.test(name) || name.endsWith('.meta.json')) continue;
    const text = readFileSync(join(FIXTURES, name), 'utf8');
    for (const document of name.endsWith('.json') ? [text] : text.split(/\r\n|\n|\r/).map((line) => line.replace(/^data: ?/, ''))) {
      if (document.includes('prompt_tokens')) visit(parsed(document), name);
    }
  }
  visit(JSON.parse(readFileSync(RECORDED, 'utf8')), RECORDED);
  return found;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

describe('usage of recorded answers', () => {
  it.skipIf(!present)("is whole, never negative, and sums to the provider's own total", () => {
    const usages = recordedUsages();
    expect(usages.length).toBeGreaterThan(300);
    for (const [source, raw] of usages) {
      const usage = readUsage(raw);
      if (usage === undefined) throw new Error(`${source}: ${JSON.stringify(raw)} was not read`);
      assertUsage(usage);
      expect(inputTokens(usage), source).toBe(raw.prompt_tokens);
      expect(inputTokens(usage) + outputTokens(usage), `${source}: ${JSON.stringify(raw)}`).toBe(raw.total_tokens);
    }
  });
});

describe('usage', () => {
  it('takes cached, written and spoken tokens out of the prompt', () => {
    const raw = {
      prompt_tokens: 100,
      completion_tokens: 20,
      total_tokens: 120,
      prompt_tokens_details: { cached_tokens: 30, cache_write_tokens: 10, audio_tokens: 5 },
      completion_tokens_details: { reasoning_tokens: 8, audio_tokens: 4 },
    };
    expect(readUsage(raw)).toEqual({ input: 55, cached_input: 30, cache_write_5m: 10, audio_in: 5, output: 16, audio_out: 4 });
  });

  it('reads the cache hits of providers with other names', () => {
    expect(readUsage({ prompt_tokens: 9, prompt_cache_hit_tokens: 4, prompt_cache_miss_tokens: 5, completion_tokens: 1 })).toMatchObject({
      input: 5,
      cached_input: 4,
    });
    expect(readUsage({ prompt_tokens: 9, num_cached_tokens: 4 })).toMatchObject({ input: 5, cached_input: 4 });
  });

  it('counts reasoning that a provider leaves outside the completion', () => {
    expect(
      readUsage({ prompt_tokens: 307, completion_tokens: 26, total_tokens: 560, completion_tokens_details: { reasoning_tokens: 227 } }),
    ).toEqual({ input: 307, output: 253 });
    expect(
      readUsage({ prompt_tokens: 10, completion_tokens: 30, total_tokens: 40, completion_tokens_details: { reasoning_tokens: 20 } }),
    ).toEqual({ input: 10, output: 30 });
  });

  it('cuts a part that is larger than its whole', () => {
    expect(readUsage({ prompt_tokens: 235, completion_tokens: 90, prompt_tokens_details: { cached_tokens: 373 } })).toEqual({
      input: 0,
      cached_input: 235,
      output: 90,
    });
  });

  it('tells absence from zero', () => {
    expect(readUsage(undefined)).toBeUndefined();
    expect(readUsage({})).toBeUndefined();
    expect(readUsage({ prompt_tokens: 5, total_tokens: 5 })).toEqual({ input: 5 });
    expect(readUsage({ prompt_tokens: 5, completion_tokens: 0 })).toEqual({ input: 5, output: 0 });
  });

  it('keeps what a later report leaves out', () => {
    const first = { prompt_tokens: 5, completion_tokens: 1, prompt_tokens_details: { cached_tokens: 3 } };
    const merged = mergeUsage(first, { completion_tokens: 7, prompt_tokens: null, prompt_tokens_details: { audio_tokens: 0 } });
    expect(merged).toEqual({ prompt_tokens: 5, completion_tokens: 7, prompt_tokens_details: { cached_tokens: 3, audio_tokens: 0 } });
  });

  it('takes pictures and films out of the prompt where they are told', () => {
    const raw = {
      prompt_tokens: 100,
      completion_tokens: 1,
      prompt_tokens_details: { image_tokens: 40, video_tokens: 25, text_tokens: 35 },
    };
    expect(readUsage(raw)).toEqual({ input: 35, image_in: 40, 'image_in:video': 25, output: 1 });
  });

  it.each([
    [{ num_search_queries: 4 }, { 'per_tool_call:web_search': 4 }],
    [{ num_sources_used: 7 }, { 'per_tool_call:web_source': 7 }],
    [{ num_sources_used: 0 }, {}],
    [{ server_tool_use: { web_search_requests: 2 } }, { 'per_tool_call:web_search': 2 }],
    [{ server_tool_use_details: { web_search_requests: 1, tool_calls_executed: 1 } }, { 'per_tool_call:web_search': 1 }],
    [{ server_side_tool_usage_details: { x_search_calls: 3 } }, { 'per_tool_call:x_search': 3 }],
  ])('counts the calls of the vendor’s own tools in %j', (told, calls) => {
    expect(readUsage({ prompt_tokens: 5, ...told })).toEqual({ input: 5, ...calls });
  });

  it('is written so that it reads back the same', () => {
    const searched = { input: 5, image_in: 2, 'image_in:video': 3, output: 1, 'per_tool_call:web_search': 2 };
    expect(readUsage(writeUsage(searched, undefined))).toEqual(searched);
    const usage = { input: 55, cached_input: 30, cache_write_5m: 10, audio_in: 5, output: 16, audio_out: 4 };
    expect(readUsage(writeUsage(usage, 8))).toEqual(usage);
    expect(writeUsage(usage, 8)).toMatchObject({
      prompt_tokens: 100,
      completion_tokens: 20,
      total_tokens: 120,
      completion_tokens_details: { reasoning_tokens: 8 },
    });
  });
});
