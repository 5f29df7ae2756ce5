import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { KeptLease } from './lease-counters.ts';
import { PayloadWriter } from './payload.ts';
import { decodePayload, encodePayload, RECORD_TYPE, requestIdOf, type SpoolRecord, summariseFinal } from './record.ts';
import { arbitraryFinal, arbitraryIntent, arbitraryLease, finalOf, intentOf } from './testing.ts';

const FINAL_OF_VERSION_1 = [
  '0103006f6c6405006163635f310c000000000000000000c006450c7a421e006d656d5f30314b414a335a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a',
  '5a1e006b65795f30314b414a335a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a0400636861740b006f70656e61692d636861740c006770742d352e',
  '342d6d696e69070073746172746572a00f0000404b4c000000000000000700737563636573730500657861637413006f70656e61692f6770742d352e',
  '342d6d696e69030000000300000008007374616e64617264030000000500696e707574b0040000000000000c006361636865645f696e707574900100',
  '000000000006006f75747075745e01000000000000000000000000000001001e00656e645f30314b414a335a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a',
  '5a5a5a06006f70656e616913006f70656e61692f6770742d352e342d6d696e69c8000000ffffbc020000000000000200000000000000006089400a00',
  '7265715f37663363326101c8000000ffff0000000000406a400000000000f08940',
].join('');

const CHECKPOINT_OF_VERSION_1 = [
  '0101000000070000000000000009000000000000000100000005000000000000000100000004006f70656e05006163635f310000c006450c7a421e00',
  '6d656d5f30314b414a335a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a1e006b65795f30314b414a335a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a',
  '5a5a0400636861740b006f70656e61692d636861740c006770742d352e342d6d696e69010013006f70656e61692f6770742d352e342d6d696e690300',
  '0000070073746172746572a00f0000404b4c00000000000000',
].join('');

const uint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

const arbitraryKeptLease: fc.Arbitrary<KeptLease> = fc
  .tuple(arbitraryLease, fc.nat())
  .map(([lease, closedAtMs]) => ({ ...lease, closedAtMs: lease.closed ? closedAtMs : undefined }));

const arbitraryRecord: fc.Arbitrary<SpoolRecord> = fc.oneof(
  fc.record({ type: fc.constant('intent' as const), intent: arbitraryIntent }),
  fc.record({ type: fc.constant('final' as const), final: arbitraryFinal }),
  fc.record({ type: fc.constant('recovered' as const), incarnation: uint64 }),
  fc.record({ type: fc.constant('lease' as const), lease: arbitraryLease }),
  fc.record({
    type: fc.constant('checkpoint' as const),
    checkpoint: fc.record({
      acked: fc.array(fc.record({ incarnation: uint64, seq: fc.maxSafeNat() }), { maxLength: 3 }),
      recovered: fc.array(uint64, { maxLength: 3 }),
      openIntents: fc.array(arbitraryIntent, { maxLength: 3 }),
      leases: fc.array(arbitraryKeptLease, { maxLength: 3 }),
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

  it('of another version or type are reported', () => {
    const bytes = encode({ type: 'recovered', incarnation: 7n });
    expect(decodePayload(6, bytes)).toEqual({ ok: false, reason: 'record type 6 is unknown' });
    bytes[0] = 4;
    expect(decodePayload(RECORD_TYPE.recovered, bytes)).toEqual({ ok: false, reason: 'payload version 4 is unknown' });
    bytes[0] = 0;
    expect(decodePayload(RECORD_TYPE.recovered, bytes)).toEqual({ ok: false, reason: 'payload version 0 is unknown' });
  });

  it('of the version that knew no charge for empty answers are read: none was charged', () => {
    fc.assert(
      fc.property(arbitraryFinal, ({ emptyIsCharged: _, ...final }) => {
        const bytes = encode({ type: 'final', final });
        // It wrote the same without the last byte.
        const old = Buffer.concat([Buffer.of(2), bytes.subarray(1, -1)]);
        expect(decodePayload(RECORD_TYPE.final, old)).toEqual({ ok: true, record: { type: 'final', final } });
      }),
    );
  });

  // Bytes that the first version wrote.
  it('of the version that knew no leases are read', () => {
    const final = decodePayload(RECORD_TYPE.final, Buffer.from(FINAL_OF_VERSION_1, 'hex'));
    expect(final).toEqual({ ok: true, record: { type: 'final', final: finalOf('old', 12n) } });
    expect(summariseFinal(Buffer.from(FINAL_OF_VERSION_1, 'hex'))).toEqual({
      requestId: 'old',
      leases: [],
    });
    expect(decodePayload(RECORD_TYPE.checkpoint, Buffer.from(CHECKPOINT_OF_VERSION_1, 'hex'))).toEqual({
      ok: true,
      record: {
        type: 'checkpoint',
        checkpoint: {
          acked: [{ incarnation: 7n, seq: 9 }],
          recovered: [5n],
          openIntents: [intentOf('open')],
          leases: undefined,
        },
      },
    });
  });

  it('give the summary of a final without the rest', () => {
    fc.assert(
      fc.property(arbitraryFinal, (final) => {
        const { requestId, leases } = final;
        expect(summariseFinal(encode({ type: 'final', final }))).toEqual({ requestId, leases });
        expect(requestIdOf(encode({ type: 'final', final }))).toBe(requestId);
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
