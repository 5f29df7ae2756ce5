import { describe, expect, it } from 'vitest';
import { readAnswerUsage, readUsage, reasoningTokens } from './usage.ts';

describe('usage of Responses', () => {
  it('takes cached, written and media tokens out of the input, and leaves reasoning in the output', () => {
    const raw = {
      input_tokens: 4_020,
      input_tokens_details: { cached_tokens: 3_000, cache_write_tokens: 500 },
      output_tokens: 128,
      output_tokens_details: { reasoning_tokens: 64 },
      total_tokens: 4_148,
    };
    expect(readUsage(raw)).toEqual({ input: 520, cached_input: 3_000, cache_write_5m: 500, output: 128 });
    expect(reasoningTokens(raw)).toBe(64);
  });

  it('reads what pictures and transcripts report', () => {
    const picture = {
      input_tokens: 221,
      input_tokens_details: { image_tokens: 194, text_tokens: 27 },
      output_tokens: 415,
      output_tokens_details: { image_tokens: 272, text_tokens: 143 },
    };
    expect(readUsage(picture)).toEqual({ input: 27, image_in: 194, output: 143, image_out: 272 });
    const transcript = { type: 'tokens', input_tokens: 37, input_token_details: { text_tokens: 0, audio_tokens: 37 }, output_tokens: 145 };
    expect(readUsage(transcript)).toEqual({ input: 0, audio_in: 37, output: 145 });
  });

  it('counts reasoning that was left outside, cuts a part larger than its whole, tells absence from zero', () => {
    expect(readUsage({ input_tokens: 10, output_tokens: 5, total_tokens: 40 })).toEqual({ input: 10, output: 30 });
    expect(readUsage({ input_tokens: 5, input_tokens_details: { cached_tokens: 9 } })).toEqual({ input: 0, cached_input: 5 });
    expect(readUsage({})).toBeUndefined();
    expect(readAnswerUsage({ output: [{ type: 'web_search_call' }] })).toBeUndefined();
  });

  it('counts the calls of the provider’s own tools, of which opening a page is none', () => {
    const search = (type: string) => ({ type: 'web_search_call', action: { type } });
    const output = [
      ...[search('search'), search('open_page'), search('find_in_page'), search('search')],
      ...[{ type: 'file_search_call' }, { type: 'function_call' }, { type: 'message' }],
      ...['a', 'a', 'b'].map((container_id) => ({ type: 'code_interpreter_call', container_id })),
    ];
    const usage = { input_tokens: 1, output_tokens: 2 };
    expect(readAnswerUsage({ usage, output })).toEqual({
      ...{ input: 1, output: 2 },
      ...{ 'per_tool_call:web_search': 2, 'per_tool_call:file_search': 1, 'per_tool_call:code_interpreter': 2 },
    });
    const counted = { usage, output, tool_usage: { web_search: { num_requests: 5 } } };
    expect(readAnswerUsage(counted)?.['per_tool_call:web_search']).toBe(5);
    const told = { ...usage, server_side_tool_usage_details: { web_search_calls: 3, x_search_calls: 0 } };
    expect(readAnswerUsage({ usage: told, output })).toMatchObject({ 'per_tool_call:web_search': 3 });
    expect(readUsage(told)).toEqual({ input: 1, output: 2, 'per_tool_call:web_search': 3 });
  });
});
