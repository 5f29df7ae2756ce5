import { describe, expect, it } from 'vitest';
import { type CreateMessage, RefusedMessage, readMessage } from './client-message.ts';
import { Conversation, type KeptTurn, StateRoom } from './conversation.ts';
import { requestBody, toolsFor } from './turn-request.ts';

function create(value: unknown): CreateMessage {
  const message = readMessage(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
  if (message.kind !== 'create') throw new Error(`read as ${message.kind}`);
  return message;
}

const body = (value: unknown, previous?: KeptTurn): unknown => JSON.parse(requestBody(create(value), previous).toString());

function refused(value: unknown): { code: unknown; param: string | undefined; streamId: string | undefined } {
  try {
    readMessage(Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)));
  } catch (thrown) {
    if (!(thrown instanceof RefusedMessage)) throw thrown;
    const { code, details, param, status } = thrown.why;
    expect(status).toBe(400);
    return { code: details?.code ?? code, param, streamId: thrown.streamId };
  }
  throw new Error('was not refused');
}

const USER = { type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Grüße, "Welt"' }] };

describe('a message of a client', () => {
  it('is a request with an envelope', () => {
    const asked = { type: 'response.create', stream_id: 'a.b-c_1', model: 'm', input: [USER], store: false, event_id: 'e1', stream: true };
    expect(body(asked)).toEqual({ stream: true, model: 'm', input: [USER], store: false });
    expect(create(asked)).toMatchObject({ streamId: 'a.b-c_1', generate: true, previousResponseId: undefined });
  });

  it('may hold the request in an object of its own', () => {
    const response = { model: 'm', input: 'Hi', previous_response_id: 'resp_1', generate: false, tools: [{ type: 'function', name: 'f' }] };
    const asked = { type: 'response.create', stream_id: 's', response };
    expect(create(asked)).toMatchObject({ streamId: 's', generate: false, previousResponseId: 'resp_1' });
    expect(body(asked)).toEqual({
      stream: true,
      model: 'm',
      tools: [{ type: 'function', name: 'f' }],
      input: [{ type: 'message', role: 'user', content: 'Hi' }],
    });
    expect(body({ type: 'response.create', model: 'm', response: null, input: [] })).toEqual({ stream: true, model: 'm', input: [] });
  });

  it('keeps the bytes of what it does not read', () => {
    const text =
      '{"type":"response.create" , "model":"m", "seed": 12345678901234567890, "input":[ {"a":1.0} ,{"b":"\\u00e9"} ],"x":{"y":[1e3]}}';
    const bytes = requestBody(create(text), undefined).toString();
    expect(bytes).toContain('"seed": 12345678901234567890');
    expect(bytes).toContain('{"a":1.0} ,{"b":"\\u00e9"}');
    expect(bytes).toContain('"x":{"y":[1e3]}');
  });

  it('takes null for absent', () => {
    const asked = { type: 'response.create', model: 'm', previous_response_id: null, generate: null, background: null, input: null };
    expect(create(asked)).toMatchObject({ generate: true, previousResponseId: undefined, items: undefined });
    expect(body(asked)).toEqual({ stream: true, model: 'm' });
    expect(body({ type: 'response.create', background: false })).toEqual({ stream: true });
  });

  it('steers, or acknowledges, by its type', () => {
    expect(readMessage(Buffer.from('{"type":"response.steer","previous_response_id":"r","input":"x"}'))).toEqual({
      kind: 'steer',
      previousResponseId: 'r',
      input: 'x',
    });
    expect(readMessage(Buffer.from('{"type":"response.processed","response_id":"r"}'))).toEqual({ kind: 'acknowledged' });
  });

  it.each([
    ['no JSON', '{"type":', 'invalid_json', undefined],
    ['a list', [1], 'invalid_request_error', undefined],
    ['more than one value', '{"type":"response.create"} {}', 'invalid_json', undefined],
    ['no type', { model: 'm' }, 'invalid_request_error', 'type'],
    ['a number for a type', { type: 1 }, 'invalid_request_error', 'type'],
    ['another type', { type: 'session.update' }, 'unknown_event_type', 'type'],
    ['a cancellation', { type: 'response.cancel' }, 'unknown_event_type', 'type'],
    ['an empty lane', { type: 'response.create', stream_id: '' }, 'invalid_stream_id', 'stream_id'],
    ['a lane of odd characters', { type: 'response.create', stream_id: 'a b' }, 'invalid_stream_id', 'stream_id'],
    ['a long lane', { type: 'response.create', stream_id: 'x'.repeat(257) }, 'invalid_stream_id', 'stream_id'],
    ['a lane that is no string', { type: 'response.create', stream_id: 7 }, 'invalid_stream_id', 'stream_id'],
    ['an id that is no string', { type: 'response.create', previous_response_id: 7 }, 'invalid_request_error', 'previous_response_id'],
    ['generate that is no boolean', { type: 'response.create', generate: 'no' }, 'invalid_request_error', 'generate'],
    ['background', { type: 'response.create', background: true }, 'invalid_request_error', 'background'],
    ['an input of another kind', { type: 'response.create', input: 7 }, 'invalid_request_error', 'input'],
    ['a response that is no object', { type: 'response.create', response: 'x' }, 'invalid_request_error', 'response'],
    ['an input twice', '{"type":"response.create","input":"a","input":"b"}', 'invalid_request_error', 'input'],
    ['an input in both places', { type: 'response.create', input: 'a', response: { input: 'b' } }, 'invalid_request_error', 'input'],
    ['an escaped name', '{"type":"response.create","\\u0069nput":"a"}', 'invalid_request_error', 'input'],
    ['a bad escape in what is read', '{"type":"response.create","previous_response_id":"\\x"}', 'invalid_json', undefined],
  ])('is refused with %s', (_, value, code, param) => {
    expect(refused(value)).toMatchObject({ code, param });
  });

  it('is refused in the lane that it names', () => {
    expect(refused({ type: 'response.create', stream_id: 'lane', input: 7 }).streamId).toBe('lane');
    expect(refused({ type: 'session.update', stream_id: 'lane' }).streamId).toBe('lane');
  });

  it('may be as deep as any request, and no deeper', () => {
    expect(refused(`{"type":"response.create","input":${'['.repeat(2_000)}${']'.repeat(2_000)}}`).code).toBe('invalid_json');
  });
});

describe('a turn that follows another', () => {
  const state = new Conversation(new StateRoom(1_000_000));
  const kept = (id: string, parent: KeptTurn | undefined, items: string[], tools?: string): KeptTurn => {
    state.keep({
      id,
      lane: undefined,
      parent,
      items: items.map((item) => Buffer.from(item)),
      tools: tools === undefined ? undefined : Buffer.from(tools),
    });
    return state.hold(id) as KeptTurn;
  };

  it('has the items of all before it in front of its own', () => {
    const first = kept('1', undefined, ['{"n":1}', '{"n":2},{"n":3}']);
    const second = kept('2', first, ['', '{"n":4}']);
    expect(body({ type: 'response.create', model: 'm', previous_response_id: '2', input: [{ n: 5 }] }, second)).toEqual({
      stream: true,
      model: 'm',
      input: [{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }, { n: 5 }],
    });
    expect(body({ type: 'response.create', model: 'm', input: [] }, second)).toMatchObject({
      input: [{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4 }],
    });
    expect(body({ type: 'response.create', model: 'm' }, kept('3', undefined, ['']))).toEqual({ stream: true, model: 'm', input: [] });
  });

  it('has the tools that were made ready for it, unless it names some', () => {
    const ready = create({ type: 'response.create', generate: false, tools: [{ name: 'made-ready' }], input: [] });
    const first = kept('r1', undefined, [''], toolsFor(ready, undefined)?.toString());
    const plain = create({ type: 'response.create', input: 'a' });
    expect(body({ type: 'response.create', input: 'a' }, first)).toMatchObject({ tools: [{ name: 'made-ready' }] });
    const second = kept('r2', first, ['{}'], toolsFor(plain, first)?.toString());
    expect(body({ type: 'response.create', input: 'b' }, second)).toMatchObject({ tools: [{ name: 'made-ready' }] });
    const own = create({ type: 'response.create', input: 'a', tools: [{ name: 'own' }] });
    expect(body({ type: 'response.create', input: 'a', tools: [{ name: 'own' }] }, first)).toMatchObject({ tools: [{ name: 'own' }] });
    expect(toolsFor(own, first)).toBeUndefined();
  });

  it('is refused when it is too large with what came before', () => {
    const first = kept('big', undefined, [`"${'x'.repeat(500_000)}"`]);
    const large = create(`{"type":"response.create","input":["${'y'.repeat(33_300_000)}"]}`);
    expect(() => requestBody(large, first)).toThrow(/larger than 33554432 bytes/);
  });
});
