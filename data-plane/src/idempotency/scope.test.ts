import { describe, expect, it } from 'vitest';
import { Scope } from './scope.ts';
import { readStoredAnswer, writeStoredAnswer } from './stored-answer.ts';

const KEY = `sk-mrd-${'a'.repeat(33)}`;
const BODY = Buffer.from('{"model":"m"}');
const scope = (apiKey = KEY, region = 'us', header = 'h-1'): Scope => new Scope(apiKey, region, header);

describe('the scope of an idempotency key', () => {
  it('is another for each API key, region and header, in everything', async () => {
    const scopes = [scope(), scope(`sk-mrd-${'b'.repeat(33)}`), scope(KEY, 'eu'), scope(KEY, 'us', 'h-2')];
    expect(new Set(scopes.map(({ name }) => name)).size).toBe(4);
    expect(new Set(await Promise.all(scopes.map((each) => each.fingerprint('chat', BODY)))).size).toBe(4);
    const sealed = scope().seal('req_1', [BODY]);
    expect(scopes.map((each) => each.open('req_1', sealed)?.toString())).toEqual([BODY.toString(), undefined, undefined, undefined]);
  });

  it('tells requests apart by operation and body', async () => {
    const large = Buffer.alloc(3_000_000, 1);
    const prints = await Promise.all([
      scope().fingerprint('chat', BODY),
      scope().fingerprint('embeddings', BODY),
      scope().fingerprint('chat', Buffer.from('{"model": "m"}')),
      scope().fingerprint('chat', Buffer.alloc(0)),
      scope().fingerprint('chat', large),
      scope().fingerprint('chat', Buffer.concat([large, Buffer.of(0)])),
      scope().fingerprint('chat', Buffer.alloc(3_000_000, 2)),
    ]);
    expect(new Set(prints).size).toBe(7);
    expect(await scope().fingerprint('chat', BODY)).toBe(prints[0]);
    expect(await scope().fingerprint('chat', large)).toBe(prints[4]);
  });

  it('opens what it sealed for the same request, and nothing of which a bit has changed', () => {
    const sealed = scope().seal('req_1', [BODY.subarray(0, 5), BODY.subarray(5)]);
    expect(scope().open('req_1', sealed)).toEqual(BODY);
    expect(scope().open('req_2', sealed)).toBeUndefined();
    for (let at = 0; at < sealed.length; at++) {
      const changed = Buffer.from(sealed);
      changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
      expect(scope().open('req_1', changed)).toBeUndefined();
    }
    expect(scope().open('req_1', sealed.subarray(0, 10))).toBeUndefined();
  });

  it('shows nothing of key, header or body', async () => {
    const shown = [scope().name, await scope().fingerprint('chat', BODY), scope().seal('req_1', [BODY]).toString('latin1')].join();
    for (const secret of [KEY, 'h-1', 'model']) expect(shown).not.toContain(secret);
  });

  it.each(['', 'two words', 'tab\t', 'caf\u00e9', 'a, b', 'x'.repeat(256)])('is refused for the header %j', (header) => {
    expect(() => scope(KEY, 'us', header)).toThrow(expect.objectContaining({ status: 400, param: 'Idempotency-Key' }));
  });

  it.each(['x', '!', '~', 'x'.repeat(255), '7c1c1a3e-52b1-4b60-9c2e-0d8f1b6f4a11'])('takes the header %j', (header) => {
    expect(() => scope(KEY, 'us', header)).not.toThrow();
  });
});

describe('a stored answer', () => {
  it('is read as it was written, and not at all in a format of a later build', () => {
    const meta = { providerId: 'prv_1', attempts: 2, actualModel: 'm', costUsdLiteral: '0.000042' };
    const bytes = Buffer.concat(writeStoredAnswer({ requestId: 'req_1', stream: false, meta, body: [BODY, BODY] }));
    expect(readStoredAnswer(bytes)).toEqual({ requestId: 'req_1', stream: false, meta, body: Buffer.concat([BODY, BODY]) });
    const bare = Buffer.concat(writeStoredAnswer({ requestId: 'req_1', stream: true, meta: undefined, body: [] }));
    expect(readStoredAnswer(bare)).toEqual({ requestId: 'req_1', stream: true, body: Buffer.alloc(0) });
    expect(readStoredAnswer(Buffer.concat([Buffer.of(2), bytes.subarray(1)]))).toBeUndefined();
  });
});
