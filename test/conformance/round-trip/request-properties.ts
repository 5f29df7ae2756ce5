/** What holds for every request: written for an upstream and read again, it says what it said, but for what is named as a loss. */
import { withAnsweredCalls } from '@meridian/data-plane/canonical/answered-calls';
import { LOSSES } from '@meridian/data-plane/canonical/loss';
import type { Request } from '@meridian/data-plane/canonical/request';
import { dialectOf } from '@meridian/data-plane/dialect/registry';
import type { DialectName } from '@meridian/domain/dialect';
import fc from 'fast-check';
import { requests } from './arbitrary-requests.ts';
import { expectSame } from './differences.ts';
import { readForm, writtenForm } from './request-form.ts';

const MODELS: Readonly<Record<DialectName, string>> = {
  'openai-chat': 'gpt-4.1',
  'openai-responses': 'gpt-4.1',
  'anthropic-messages': 'claude-sonnet-4-5',
  gemini: 'gemini-3.1-pro-preview',
};

/** A request of one dialect, written for an upstream of another, and read again. */
export function writtenRequests(client: DialectName, upstream: DialectName): fc.IPropertyWithHooks<[Request]> {
  return fc.property(requests(client, upstream), (asked) => {
    const dialect = dialectOf(upstream);
    const request = withAnsweredCalls(asked);
    const { body, losses } = dialect.encodeRequest(request, {
      model: MODELS[upstream],
      maxOutputTokens: undefined,
      modelMaxOutputTokens: 16_000,
      capabilities: ['tools', 'vision', 'json_schema', 'reasoning'],
    });
    for (const { name } of losses) {
      const to: readonly DialectName[] = LOSSES[name].to;
      if (!to.includes(upstream)) throw new Error(`${name} is not said to be lost to ${upstream}`);
    }
    const bytes = Buffer.concat([...body]);
    const again = dialect.decodeRequest(bytes, { model: 'asked', stream: request.stream });
    const terms = { of: upstream, losses: new Set(losses.map(({ name }) => name)), foreign: client !== upstream };
    expectSame(writtenForm(request, terms), readForm(again, terms), () => `without ${JSON.stringify(losses)}\n${bytes.toString('utf8')}`);
  });
}
