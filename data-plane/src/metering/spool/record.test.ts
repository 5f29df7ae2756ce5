import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PayloadWriter } from './payload.ts';
import { decodePayload, encodePayload, RECORD_TYPE, type SpoolRecord, summariseFinal } from './record.ts';
import { arbitraryFinal, arbitraryIntent } from './testing.ts';

const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

const arbitraryRecord: fc.Arbitrary<SpoolRecord> = fc.oneof(
  fc.record({ type: fc.constant('intent' as const), intent: arbitraryIntent }),
  fc.record({ type: fc.constant('final' as const), final: arbitraryFinal }),
  fc.record({ type: fc.constant('recovered' as const), incarnation: uint64 }),
  fc.record({
    type: fc.constant('checkpoint' as const),
    checkpoint: fc.record({
      acked: fc.array(fc.record({ incarnation: uint64, seq: fc.maxSafeNat() }), { maxLength: 3 }),
      recovered: fc.array(uint64, { maxLength: 3 }),
      openIntents: fc.array(arbitraryIntent, { maxLength: 3 }),
    }),
  }),
);

function encode(record: SpoolRecord): Buffer {
  const writer = new PayloadWriter(16);
  encodePayload(writer, record);
  return Buffer.from(writer.view());
}

describe('payloads of the spool', () => {
  it('come back as they were, every field of every record', () => {
    fc.assert(
      fc.property(arbitraryRecord, (record) => {
        expect(decodePayload(RECORD_TYPE[record.type], encode(record))).toEqual({ ok: true, record });
      }),
    );
  });

  it('are reported when cut or followed by something, never thrown', () => {
    fc.assert(
      fc.property(arbitraryRecord, fc.nat(), (record, at) => {
        const bytes = encode(record);
        const type = RECORD_TYPE[record.type];
        expect(decodePayload(type, bytes.subarray(0, at % bytes.length)).ok).toBe(false);
        expect(decodePayload(type, Buffer.concat([bytes, Buffer.of(0)])).ok).toBe(false);
      }),
    );
  });

  it('are read without a throw whatever bytes they are', () => {
    fc.assert(
      fc.property(fc.nat({ max: 255 }), fc.uint8Array({ maxLength: 300 }), (type, bytes) => {
        const payload = Buffer.from(bytes);
        decodePayload(type, Buffer.concat([Buffer.of(1), payload]));
        summariseFinal(Buffer.concat([Buffer.of(1), payload]));
      }),
    );
  });

  it('of another version or of the reserved type are reported', () => {
    const bytes = encode({ type: 'recovered', incarnation: 7n });
    expect(decodePayload(RECORD_TYPE.lease, bytes)).toEqual({ ok: false, reason: 'record type 3 is unknown' });
    bytes[0] = 2;
    expect(decodePayload(RECORD_TYPE.recovered, bytes)).toEqual({ ok: false, reason: 'payload version 2 is unknown' });
  });

  it('give the summary of a final without the rest', () => {
    fc.assert(
      fc.property(arbitraryFinal, (final) => {
        const { requestId, accountId, chargeNano } = final;
        expect(summariseFinal(encode({ type: 'final', final }))).toEqual({ requestId, accountId, chargeNano });
      }),
    );
  });

  it('refuse a text that is too long, and numbers that do not fit', () => {
    fc.assert(
      fc.property(arbitraryIntent, (intent) => {
        expect(() => encode({ type: 'intent', intent: { ...intent, keyId: 'x'.repeat(70_000) } })).toThrow(RangeError);
        expect(() => encode({ type: 'intent', intent: { ...intent, maxCostNano: 2n ** 63n } })).toThrow(RangeError);
        expect(() => encode({ type: 'intent', intent: { ...intent, admittedAtMs: Number.NaN } })).toThrow(RangeError);
      }),
      { numRuns: 5 },
    );
  });
});
