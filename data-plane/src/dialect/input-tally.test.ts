import { expect, it } from 'vitest';
import { MESSAGE_OVERHEAD_TOKENS, TOOL_OVERHEAD_TOKENS, TOOLS_INSTRUCTION_TOKENS } from './input-bounds.ts';
import { emptyTally, endMessage, inputTokensBound, noteReference } from './input-tally.ts';

it('bounds the input by its bytes, the maxima of its media, and what stands around messages and tools', () => {
  const body = Buffer.alloc(1_000);
  const tally = { ...emptyTally(), messages: 3, mediaBytes: 400, mediaTokens: 70 };
  const bare = 1_000 - 400 + 70 + 3 * MESSAGE_OVERHEAD_TOKENS;
  expect(inputTokensBound(body, tally)).toBe(bare);
  expect(inputTokensBound(body, { ...tally, tools: 2 })).toBe(bare + TOOLS_INSTRUCTION_TOKENS + 2 * TOOL_OVERHEAD_TOKENS);
});

it('keeps the longest message, and the first parameter that nothing bounds', () => {
  const tally = emptyTally();
  for (const bytes of [3, 9, 5]) {
    tally.messageBytes = bytes;
    endMessage(tally);
  }
  expect(tally.longestMessageBytes).toBe(9);
  noteReference(tally, 'messages[0].file');
  noteReference(tally, 'prompt');
  expect(tally).toMatchObject({ readsBeyondBody: true, unbounded: 'messages[0].file' });
});
