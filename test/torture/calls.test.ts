import { expect, it } from 'vitest';
import type { JournalLine } from '../upstream/src/journal.ts';
import { type RequestRow, requestsOf } from './calls.ts';
import type { Sent } from './clients.ts';

const row = (request_id: string, charge_nano: string): RequestRow => ({
  request_id,
  charge_nano,
  key_id: 'key_1',
  region: 'us',
  client_dialect: 'gemini',
  asked_model: 'm',
  admitted_at: new Date(1_000),
  attempts: [],
});
/** Only what is looked at. */
const line = { request_id: null, client_marker: 'ref_1', t_start: 1_100 } as unknown as JournalLine;
const sent = { ref: 'ref_1', keyId: 'key_1', region: 'us', dialect: 'gemini', model: 'm', startMs: 900, endMs: 2_000 } as unknown as Sent;

it('gives a call that could be of two requests to the one that was charged: the other died before its own', () => {
  for (const rows of [
    [row('died', '0'), row('served', '5')],
    [row('served', '5'), row('died', '0')],
  ]) {
    expect(requestsOf([line], rows, [sent, sent], () => true).get(line)?.request_id).toBe('served');
  }
});
