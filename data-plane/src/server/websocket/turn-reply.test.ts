import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { openaiResponses } from '../../dialect/openai-responses/index.ts';
import { type Outlet, TurnReply, type TurnTerms } from './turn-reply.ts';

class Sent implements Outlet {
  readonly texts: string[] = [];
  pings = 0;
  gone = false;
  ready = true;

  send(text: Buffer): void {
    this.texts.push(text.toString('utf8'));
  }

  onDrain(): void {}

  ping(): void {
    this.pings++;
  }
}

function reply(terms: Partial<TurnTerms> = {}): { outlet: Sent; reply: TurnReply; statuses: number[] } {
  const outlet = new Sent();
  const statuses: number[] = [];
  const made = new TurnReply({
    requestId: 'req_1',
    dialect: openaiResponses,
    streamId: undefined,
    hidesReasoningState: () => false,
    outlet,
    onError: () => {},
    onStatus: (status) => statuses.push(status),
    ...terms,
  });
  return { outlet, reply: made, statuses };
}

const bytes = (...texts: string[]): Buffer[] => texts.map((text) => Buffer.from(text));
const completed = (fields: object): string => `data: ${JSON.stringify({ type: 'response.completed', ...fields })}\n\n`;

describe('the answer to a turn', () => {
  it('is the data of its events, however they were cut, and no end mark', () => {
    const { outlet, reply: turn } = reply();
    turn.open(undefined);
    turn.write(bytes('event: a\ndata: {"type":"a"}\n\nevent: b\ndata: {"type"', ':"b"}\n\n: a comment\n\n', 'data: {"t":"Grüße"}\r\n\r\n'));
    turn.finish(bytes('data: {"type":"c"}\n\n', 'data: [DONE]\n\n'));
    expect(outlet.texts).toEqual(['{"type":"a"}', '{"type":"b"}', '{"t":"Grüße"}', '{"type":"c"}']);
  });

  it('names its lane in each of them', () => {
    const { outlet, reply: turn } = reply({ streamId: 'a-1' });
    turn.write(bytes('data: {"type":"a"}\n\ndata: {}\n\n'));
    turn.keepAlive();
    turn.breakOff(new GatewayError('upstream_error'));
    expect(outlet.texts.slice(0, 3)).toEqual(['{"stream_id":"a-1","type":"a"}', '{}', '{"stream_id":"a-1","type":"keepalive"}']);
    expect(JSON.parse(outlet.texts[3] ?? '')).toMatchObject({ type: 'error', status: 502, stream_id: 'a-1' });
  });

  it('is a ping where the dialect keeps alive without data', () => {
    const { outlet, reply: turn } = reply({ dialect: { ...openaiResponses, keepAlive: Buffer.from(': keep-alive\n\n') } });
    turn.keepAlive();
    expect([outlet.texts, outlet.pings]).toEqual([[], 1]);
  });

  it('can be followed when it is complete, or cut at a limit', () => {
    const output = [{ type: 'message', n: 1.5 }, { type: 'reasoning' }];
    for (const type of ['response.completed', 'response.incomplete']) {
      const { reply: turn } = reply();
      turn.finish(bytes(`data: ${JSON.stringify({ type, response: { id: 'resp_1', output } })}\n\n`));
      expect(turn.answered?.responseId).toBe('resp_1');
      expect(JSON.parse(`[${turn.answered?.outputItems}]`)).toEqual(output);
    }
    const { reply: empty } = reply();
    empty.finish(bytes(completed({ response: { id: 'r', output: [] } })));
    expect(empty.answered?.outputItems).toHaveLength(0);
  });

  it.each([
    ['fails', 'data: {"type":"response.failed","response":{"id":"r","output":[]}}\n\n'],
    ['has no id', completed({ response: { output: [] } })],
    ['has an id that is none', completed({ response: { id: 7, output: [] } })],
    ['has no output', completed({ response: { id: 'r' } })],
    ['has an output that is none', completed({ response: { id: 'r', output: {} } })],
    ['cannot be read', 'data: {"type":"response.completed","response":{"id":\n\n'],
  ])('cannot be followed when it %s, and is handed on as it is', (_, event) => {
    const { outlet, reply: turn } = reply();
    turn.finish(bytes(event));
    expect(turn.answered).toBeUndefined();
    expect(outlet.texts).toHaveLength(1);
  });

  it('ends once', () => {
    const { outlet, reply: turn, statuses } = reply();
    turn.fail(new GatewayError('rate_limit_exceeded', { retryAfterSeconds: 3 }));
    turn.breakOff(new GatewayError('upstream_error'));
    turn.finish(bytes(completed({ response: { id: 'r', output: [] } })));
    expect(outlet.texts.map((text) => JSON.parse(text))).toMatchObject([
      { type: 'error', status: 429, error: { code: 'rate_limit_exceeded' }, headers: { 'retry-after': '3', 'x-request-id': 'req_1' } },
    ]);
    expect(turn.answered).toBeUndefined();
    expect(statuses).toEqual([429]);
  });

  it('has the number of the error among its events', () => {
    const { outlet, reply: turn } = reply();
    turn.open(undefined);
    turn.breakOff(
      new GatewayError('upstream_error'),
      bytes('data: {"type":"error","sequence_number":4}\n\ndata: {"sequence_number":5}\n\n'),
    );
    expect(outlet.texts.map((text) => JSON.parse(text))).toMatchObject([{ type: 'error', status: 502, sequence_number: 4 }]);
  });

  it('tells what got lost before anything else, once', () => {
    const { outlet, reply: turn, statuses } = reply();
    const meta = { providerId: 'p', attempts: 1, actualModel: 'm', costUsdLiteral: undefined, losses: [{ name: 'top_k' }] } as const;
    turn.open(meta);
    turn.open(meta);
    expect(outlet.texts.map((text) => JSON.parse(text))).toEqual([{ type: 'meridian:loss', loss: 'top_k', request_id: 'req_1' }]);
    expect(statuses).toEqual([200]);
  });

  it('tells the pipeline of a client that is gone, also when it was already', () => {
    const { outlet, reply: turn } = reply();
    let told = 0;
    turn.onGone(() => told++);
    turn.connectionGone();
    outlet.gone = true;
    turn.onGone(() => told++);
    expect(told).toBe(2);
  });
});
