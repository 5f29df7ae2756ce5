import { describe, expect, it } from 'vitest';
import { includingState, withoutState } from './reasoning-state.ts';

const STATE = 'reasoning.encrypted_content';

describe('the state of reasoning', () => {
  it.each([
    [undefined, [STATE]],
    ['null', [STATE]],
    ['[]', [STATE]],
    ['["message.output_text.logprobs"]', ['message.output_text.logprobs', STATE]],
    [`["${STATE}"]`, undefined],
    ['"all"', undefined],
    ['{}', undefined],
  ])('is asked for beside %s', (include, expected) => {
    const with_ = includingState(include === undefined ? undefined : Buffer.from(include));
    expect(with_ === undefined ? undefined : JSON.parse(with_.toString())).toEqual(expected);
  });

  const reasoning = { id: 'rs_1', type: 'reasoning', summary: [], encrypted_content: 'gAAA' };
  const hidden = { ...reasoning, encrypted_content: null };
  const compaction = { id: 'cmp_1', type: 'compaction', encrypted_content: 'gBBB' };
  const message = { type: 'message', content: [{ type: 'output_text', text: 'say "encrypted_content":"x"' }] };

  it.each([
    ['an item', { type: 'response.output_item.done', item: reasoning }, { type: 'response.output_item.done', item: hidden }],
    [
      'a response',
      { type: 'response.completed', response: { id: 'r', output: [reasoning, compaction, message, reasoning] } },
      { type: 'response.completed', response: { id: 'r', output: [hidden, compaction, message, hidden] } },
    ],
    ['what needs its state', { type: 'x', item: compaction }, { type: 'x', item: compaction }],
    ['a response without output', { response: { encrypted_content: 'x' } }, { response: { encrypted_content: 'x' } }],
    ['a state that is absent', { item: hidden }, { item: hidden }],
  ])('is taken out of %s', (_, event, expected) => {
    expect(JSON.parse(withoutState(Buffer.from(JSON.stringify(event))).toString())).toEqual(expected);
  });

  it('leaves the bytes of everything else, and of what it cannot read', () => {
    const odd = '{ "n": 1.50, "item" : {"type":"reasoning" , "encrypted_content" : "a\\"b" , "x":12345678901234567890} }';
    expect(withoutState(Buffer.from(odd)).toString()).toBe(odd.replace('"a\\"b"', 'null'));
    for (const text of [
      '{"encrypted_content"',
      '[{"encrypted_content":"x"}]',
      '{"item":{"encrypted_content":"a","encrypted_content":"b"}}',
      'x',
    ]) {
      expect(withoutState(Buffer.from(text)).toString()).toBe(text);
    }
  });
});
