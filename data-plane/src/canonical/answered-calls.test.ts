import { describe, expect, it } from 'vitest';
import { withAnsweredCalls } from './answered-calls.ts';
import type { Message, Part, Role } from './message.ts';
import type { Request } from './request.ts';

const text = (value: string): Part => ({ type: 'text', text: value, citations: [], rest: {} });
const call = (id: string): Part => ({ type: 'tool_call', id, name: 'f', arguments: '{}', kind: 'function', rest: {} });
const result = (callId: string): Part => ({ type: 'tool_result', callId, parts: [text(callId)], isError: false });
const message = (role: Role, ...parts: Part[]): Message => ({ role, parts, name: undefined, rest: {} });

function request(messages: readonly Message[], dialect: Request['dialect'] = 'openai-chat'): Request {
  return {
    dialect,
    model: 'm',
    messages,
    tools: [],
    toolChoice: undefined,
    parallelToolCalls: undefined,
    stream: false,
    wantsStreamUsage: false,
    maxOutputTokens: undefined,
    sampling: {
      temperature: undefined,
      topP: undefined,
      topK: undefined,
      seed: undefined,
      frequencyPenalty: undefined,
      presencePenalty: undefined,
    },
    stop: [],
    choices: 1,
    logprobs: undefined,
    format: undefined,
    reasoning: undefined,
    serviceTier: 'standard',
    user: undefined,
    rest: {},
  };
}

const arranged = (...messages: Message[]) => withAnsweredCalls(request(messages)).messages;

describe('a conversation with tool calls', () => {
  it('stays as it is where nothing was called', () => {
    const plain = request([message('user', text('a')), message('assistant', text('b')), message('assistant', text('c'))]);
    expect(withAnsweredCalls(plain)).toBe(plain);
  });

  it('has results in the order of the calls', () => {
    const [asked, answer] = [message('user', text('?')), message('assistant', call('a'), call('b'))];
    const [a, b] = [message('tool', result('a')), message('tool', result('b'))];
    expect(arranged(asked, answer, b, a)).toEqual([asked, answer, a, b]);
    expect(arranged(asked, answer, a, b)).toEqual([asked, answer, a, b]);
  });

  it('has each result as a message of its own, before what was said with it', () => {
    const answer = message('assistant', call('a'), call('b'));
    const together = message('user', text('first'), result('b'), result('a'), text('last'));
    expect(arranged(answer, together)).toEqual([
      answer,
      message('tool', result('a')),
      message('tool', result('b')),
      message('user', text('first'), text('last')),
    ]);
  });

  it('joins what the model said in one turn, and brings results back over what stands between', () => {
    const parts = [message('assistant', call('a')), message('assistant', text('and')), message('assistant', call('b'))];
    const between = message('user', text('hurry'));
    expect(arranged(...parts, between, message('tool', result('b')), message('tool', result('a')))).toEqual([
      message('assistant', call('a'), text('and'), call('b')),
      message('tool', result('a')),
      message('tool', result('b')),
      between,
    ]);
  });

  it('keeps turns apart that use an id again', () => {
    const turn = [message('assistant', call('call_0')), message('tool', result('call_0'))];
    expect(arranged(...turn, ...turn)).toEqual([...turn, ...turn]);
  });

  it.each([
    [[message('assistant', call('a')), message('user', text('x'))], "'a' has no tool result"],
    [[message('assistant', call('a'), call('b')), message('tool', result('a'))], "'b' has no tool result"],
    [[message('user', text('x')), message('tool', result('z'))], "the id 'z'"],
    [[message('tool', result('a')), message('assistant', call('a'))], "'a' has no tool result"],
    [[message('assistant', call('a')), message('tool', result('a')), message('tool', result('a'))], "the id 'a'"],
  ])('is refused where calls and results do not belong together: %#', (messages, text) => {
    expect(() => arranged(...messages)).toThrow(expect.objectContaining({ status: 400, param: 'messages' }));
    expect(() => arranged(...messages)).toThrow(text);
  });

  it('is refused by the name that the dialect of the client has for it', () => {
    const messages = [message('assistant', call('a'))];
    expect(() => withAnsweredCalls(request(messages, 'gemini'))).toThrow(expect.objectContaining({ param: 'contents' }));
    expect(() => withAnsweredCalls(request(messages, 'openai-responses'))).toThrow(expect.objectContaining({ param: 'input' }));
  });

  it('takes a body full of messages, of calls, or of results with one id, in one pass', () => {
    const many = 60_000;
    const pieces = Array.from(
      { length: many },
      (_, index): Message => ({ ...message('assistant', text('a')), rest: { [`k${index}`]: 1 } }),
    );
    const [turn, answer] = arranged(message('assistant', call('a')), ...pieces, message('tool', result('a')));
    expect([turn?.parts.length, Object.keys(turn?.rest ?? {}).length, answer?.role]).toEqual([many + 1, many, 'tool']);

    const results = Array.from({ length: many }, () => message('tool', result('a')));
    const calls = message('assistant', ...Array.from({ length: many }, () => call('a')));
    expect(arranged(calls, ...results)).toHaveLength(many + 1);
    expect(() => arranged(...results, calls, ...results)).toThrow("No tool call before it has the id 'a'");
  });
});
