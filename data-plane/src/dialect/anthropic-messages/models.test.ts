import { describe, expect, it } from 'vitest';
import { modelWays } from './models.ts';

describe('the ways of a model', () => {
  it.each([
    ['claude-3-haiku-20240307', 'none'],
    ['claude-3-5-sonnet-20240620', 'none'],
    ['claude-3-7-sonnet-latest', 'budget'],
    ['claude-sonnet-4-20250514', 'budget'],
    ['claude-opus-4-1-20250805', 'budget'],
    ['claude-sonnet-4-5', 'budget'],
    ['anthropic/claude-haiku-4.5', 'budget'],
    ['anthropic.claude-sonnet-4-5-20250929-v1:0', 'budget'],
    ['claude-opus-4-6', 'both'],
    ['claude-opus-4.7', 'adaptive'],
    ['claude-sonnet-5', 'adaptive'],
    ['claude-fable-5', 'adaptive'],
    ['something-else', 'adaptive'],
  ])('%s thinks: %s', (name, thinking) => {
    expect(modelWays(name).thinking).toBe(thinking);
  });

  it('changes what may be sent with it', () => {
    expect(modelWays('claude-sonnet-4-20250514')).toMatchObject({ sampling: 'all', hasStructuredOutput: false, takesEffort: false });
    expect(modelWays('claude-haiku-4-5-20251001')).toMatchObject({ sampling: 'one', hasStructuredOutput: true, takesEffort: false });
    expect(modelWays('claude-opus-4-5')).toMatchObject({ takesEffort: true, takesInlineSystem: false });
    expect(modelWays('claude-opus-4-8')).toMatchObject({ sampling: 'none', takesEffort: true, takesInlineSystem: true });
  });
});
