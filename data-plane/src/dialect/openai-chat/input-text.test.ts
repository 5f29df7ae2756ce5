import type { Operation } from '@meridian/domain/dialect';
import { describe, expect, it } from 'vitest';
import type { InputText } from '../dialect.ts';
import { inputText } from './input-text.ts';
import { readPassThrough } from './pass-through-request.ts';

const read = (body: object | string, operation: Operation = 'chat'): InputText & { readonly bound: number } => {
  const bytes = Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  const { inputTokensBound } = readPassThrough(operation, bytes).facts;
  return { ...inputText(operation, bytes, inputTokensBound), bound: inputTokensBound };
};
const bytesOf = (value: unknown): number => JSON.stringify(value).length;

describe('the text of a chat', () => {
  it('is taken out of plain messages, of which the role and an overhead stay', () => {
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { content: 'é "quoted"\n', role: 'user' },
    ];
    const { texts, otherTokensBound, bound } = read({ model: 'm', messages, max_tokens: 5 });
    expect(texts).toEqual(['Be brief.', 'é "quoted"\n']);
    const roles = '"system"'.length + '"user"'.length;
    // The accented letter has one byte more than characters.
    expect(otherTokensBound).toBe(bound - bytesOf(messages[0]) - bytesOf(messages[1]) - 1 + roles + 3);
    expect(otherTokensBound).toBe(bytesOf({ model: 'm', messages: [], max_tokens: 5 }) + 1 + roles + 2 * 8 + 3);
  });

  it('leaves the bytes of all that may be written otherwise: names, calls, tools, schemas', () => {
    const message = { role: 'assistant', content: 'text', tool_calls: [{ id: 'c', function: { name: 'f', arguments: '{"a":"text"}' } }] };
    const tools = [{ type: 'function', function: { name: 'f', parameters: { description: 'text', content: 'text' } } }];
    const { texts, otherTokensBound, bound } = read({
      model: 'm',
      messages: [message, { role: 'user', name: 'n', content: 'more' }],
      tools,
      response_format: { type: 'json_schema', json_schema: { content: 'text' } },
    });
    expect(texts).toEqual(['text', 'more']);
    expect(otherTokensBound).toBe(bound - 2 * '"text"'.length + 3);
  });

  it('is taken out of parts, whose media keep their bound', () => {
    const content = [
      { type: 'text', text: 'Look:' },
      { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA', text: 'inside' } },
      'stray',
      { type: 'refusal', refusal: 'No.' },
    ];
    const { texts, otherTokensBound, bound } = read({ model: 'm', messages: [{ role: 'user', content }] });
    expect(texts).toEqual(['Look:']);
    expect(otherTokensBound).toBe(bound - '"Look:"'.length + 3);
    expect(otherTokensBound).toBeGreaterThan(48_169);
  });

  it('takes both of two contents, whichever is read upstream, and none of a name with escapes', () => {
    const twice = read('{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}');
    expect(twice.texts).toEqual(['a', 'b']);
    expect(twice.otherTokensBound).toBe(twice.bound - 6 + 3);
    // Two contents and no role are two members, and no plain message.
    const roleless = read('{"model":"m","messages":[{"content":"a","content":"b"}]}');
    expect(roleless.otherTokensBound).toBe(roleless.bound - 6 + 3);
    // Two roles and no text likewise.
    expect(read('{"model":"m","messages":[{"role":"user","role":"user"}]}')).toMatchObject({ texts: [] });
    const nothing = read('{"model":"m","messages":[{"role":"user","content":null}]}');
    expect(nothing.otherTokensBound).toBe(nothing.bound + 3);
  });

  it('leaves a string with errors that the upstream is to find, in bytes', () => {
    const bad = `${'x'.repeat(70_000)}\\q`;
    const { texts, otherTokensBound, bound } = read(`{"model":"m","messages":[{"role":"user","content":"${bad}"}]}`);
    expect(texts).toEqual([]);
    expect(otherTokensBound).toBe(bound + 3);
  });
});

describe('the text of embeddings', () => {
  it('is a text or several; tokens keep their bytes', () => {
    const one = read({ model: 'm', input: 'one' }, 'embeddings');
    expect(one).toMatchObject({ texts: ['one'], otherTokensBound: one.bound - 5 });
    const two = read({ model: 'm', input: ['one', 'two'] }, 'embeddings');
    expect(two).toMatchObject({ texts: ['one', 'two'], otherTokensBound: two.bound - 10 });
    const tokens = read({ model: 'm', input: [[1, 2], [3]] }, 'embeddings');
    expect(tokens).toMatchObject({ texts: [], otherTokensBound: tokens.bound });
  });
});
