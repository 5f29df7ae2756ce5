import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { aliasId, modelNames, modelServes, nearestModelNames, normalizeModelName } from './model.ts';

describe('model names', () => {
  it.each([
    ['claude-opus-4.7', 'claude-opus-4-7'],
    ['GPT-5.4', 'gpt-5-4'],
    ['gemini/gemini-2.5-pro', 'google/gemini-2-5-pro'],
    ['google/gemini-2.5-pro', 'google/gemini-2-5-pro'],
    ['models/gemini-2.5-pro', 'gemini-2-5-pro'],
    ['fal-ai%2Fflux-pro%2fv1.1-ultra', 'fal-ai/flux-pro/v1-1-ultra'],
    ['fal-ai/flux-pro/v1.1-ultra', 'fal-ai/flux-pro/v1-1-ultra'],
    ['black-forest-labs/flux-1.1-pro', 'black-forest-labs/flux-1-1-pro'],
    ['meta-llama/llama-3.3-70b-instruct', 'meta-llama/llama-3-3-70b-instruct'],
    ['xai/grok-4', 'x-ai/grok-4'],
    [' gpt-4o ', 'gpt-4o'],
    ['1.2.3.4', '1-2-3-4'],
  ])('%j is compared as %j', (written, compared) => {
    expect(normalizeModelName(written)).toBe(compared);
  });

  it.each([
    ['gpt-4o', 'gpt-4-o'],
    ['gpt-5', 'gpt-5-4'],
    ['a.b', 'a-b'],
    ['v.1', 'v-1'],
    ['openai/gpt-5', 'azure/gpt-5'],
    ['flux-pro/v1', 'flux-pro-v1'],
  ])('%j and %j are two models', (one, other) => {
    expect(normalizeModelName(one)).not.toBe(normalizeModelName(other));
  });

  it('are compared alike however often they have been brought to that form', () => {
    const name = fc.string({ unit: fc.constantFrom(...'abcXYZ0123./-% _'), maxLength: 40 });
    fc.assert(
      fc.property(name, (text) => {
        fc.pre(!/models\/models\//i.test(text) && !/%2f/i.test(text.replace(/%2f/gi, '/')));
        const once = normalizeModelName(text);
        fc.pre(!once.startsWith('models/') && once === once.trim());
        expect(normalizeModelName(once)).toBe(once);
      }),
    );
  });

  it('of one model are the bare one and the one with its vendor', () => {
    expect(modelNames({ id: 'gemini-2.5-pro', vendor: 'google' })).toContain(normalizeModelName('gemini/gemini-2-5-pro'));
    expect(modelNames({ id: 'gemini-2.5-pro', vendor: 'google' })).toContain(normalizeModelName('Gemini-2.5-Pro'));
  });
});

describe('the id of an alias', () => {
  it('is its normalised name, and tells whom it is for', () => {
    expect(aliasId('Claude-Opus-4.7')).toBe('claude-opus-4-7');
    expect(aliasId('Claude-Opus-4.7', { accountId: 'acc_01K' })).toBe('claude-opus-4-7@ACCOUNT:acc_01K');
    expect(aliasId('models/claude-opus-4-7', { planId: 'pro' })).toBe('claude-opus-4-7@PLAN:pro');
  });

  it('of one for a few is no name that anybody could give to one for everybody', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.boolean(), (name, scope, isAccount) => {
        const id = aliasId(name, isAccount ? { accountId: scope } : { planId: scope });
        expect(aliasId(id)).not.toBe(id);
      }),
    );
  });
});

it('serves the operations of its mode only', () => {
  expect(modelServes('chat', 'chat')).toBe(true);
  expect(modelServes('embedding', 'embeddings')).toBe(true);
  expect(modelServes('embedding', 'chat')).toBe(false);
  expect(modelServes('image_generation', 'chat')).toBe(false);
});

describe('near names', () => {
  const names = ['gpt-5.4', 'gpt-5.4-mini', 'claude-opus-4-7', 'openai/gpt-4o', 'text-embedding-3-small'];

  it('come nearest first, by edits, whatever the vendor prefix', () => {
    expect(nearestModelNames('gtp-5.4', names, 2)[0]).toBe('gpt-5.4');
    expect(nearestModelNames('openai/gpt4o', names, 1)).toEqual(['openai/gpt-4o']);
    expect(nearestModelNames('claude-opus-4.6', names, 1)).toEqual(['claude-opus-4-7']);
  });

  it('are none for a name that is like nothing', () => {
    expect(nearestModelNames('zzzzzzzzzzzzzzzz', names, 5)).toEqual([]);
  });

  it('are no more than asked for, and cost little for a very long name', () => {
    expect(nearestModelNames('gpt-5.4', names, 2)).toHaveLength(2);
    expect(nearestModelNames('x'.repeat(100_000), names, 5)).toEqual([]);
  });
});
