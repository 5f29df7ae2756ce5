import { GatewayError } from '@meridian/domain/error';
import { expect, it } from 'vitest';
import { openaiChat } from '../dialect/openai-chat/index.ts';
import { checkMessages } from './entitle.ts';

function check(maxMessageCharacters: number | undefined, ...contents: readonly string[]): GatewayError | undefined {
  const plan = { id: 'p', name: 'P', apiAccess: true, ...(maxMessageCharacters === undefined ? {} : { maxMessageCharacters }) };
  const messages = contents.map((content) => ({ role: 'user', content }));
  const body = Buffer.from(JSON.stringify({ model: 'm', messages }));
  const { facts } = openaiChat.readPassThrough('chat', body);
  try {
    checkMessages(plan, facts.longestMessageBytes, { body, dialect: openaiChat });
    return undefined;
  } catch (thrown) {
    return GatewayError.from(thrown);
  }
}

it('a message may be as long as the plan allows, counted in characters and not in bytes', () => {
  expect(check(5, 'short', '12345')).toBeUndefined();
  expect(check(5, 'äöüßé')).toBeUndefined();
  expect(check(5, '\u0001\u0002\u0003\u0004\u0005')).toBeUndefined();
  expect(check(undefined, 'x'.repeat(100_000))).toBeUndefined();
});

it('a longer one is refused by its place', () => {
  expect(check(5, 'short', 'longer')).toMatchObject({
    status: 400,
    code: 'invalid_request_error',
    param: 'messages[1]',
    message: 'The plan of this account allows 5 characters a message, and messages[1] has 6.',
  });
});
