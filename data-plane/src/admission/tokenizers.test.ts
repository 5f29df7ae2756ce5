import { describe, expect, it } from 'vitest';
import { encodingOf } from './tokenizers.ts';

const of = (...ids: string[]): string | undefined => encodingOf(ids.map((id) => ({ id })));

describe('the encoding of a model', () => {
  it.each(['gpt-4o', 'gpt-4o-mini-2024-07-18', 'gpt-4.1-nano', 'gpt-5', 'gpt-5.4-mini', 'gpt-5.5', 'o3', 'o4-mini'])(
    '%s: o200k_base',
    (id) => {
      expect(of(id)).toBe('o200k_base');
    },
  );

  it.each(['gpt-4', 'gpt-4-0613', 'gpt-4-turbo-2024-04-09', 'gpt-3.5-turbo', 'text-embedding-3-small', 'text-embedding-ada-002'])(
    '%s: cl100k_base',
    (id) => {
      expect(of(id)).toBe('cl100k_base');
    },
  );

  it.each([
    'claude-opus-4-7',
    'gemini-2.5-pro',
    'gpt-oss-120b',
    'gpt-4o-search-preview',
    'gpt-4o-audio-preview',
    'gpt-4o-mini-tts',
    'gpt-image-1',
    'gpt-6',
    'my-gpt-4o',
    'gpt-4o-2',
    'gpt-4.5-preview',
  ])('%s: not known', (id) => {
    expect(of(id)).toBeUndefined();
  });

  it('is one only where all models share it', () => {
    expect(of('gpt-4o', 'o3')).toBe('o200k_base');
    expect(of('gpt-4o', 'gpt-4')).toBeUndefined();
    expect(of('gpt-4o', 'claude-opus-4-7')).toBeUndefined();
    expect(of('claude-opus-4-7', 'gpt-4o')).toBeUndefined();
    expect(of()).toBeUndefined();
  });
});
