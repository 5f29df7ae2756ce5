import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { DIALECT_NAMES, OPERATIONS } from '@meridian/domain/dialect';
import { ERROR_CODES, type ErrorCode } from '@meridian/domain/error-code';
import { SERVICE_TIERS } from '@meridian/domain/price';
import { COMPONENTS } from '@meridian/domain/usage';
import { type Final, OUTCOMES } from '@meridian/domain/usage-record';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FinalSchema, UsageBatchSchema, UsageRecordsSchema } from '../gen/meridian/v1/usage_pb.js';
import { finalFromWire, finalToWire } from './final.ts';
import { UsageRecordsWriter } from './final-writer.ts';
import { usageBatchFromWire, usageBatchToWire } from './usage-batch.ts';
import { WireFormatError } from './wire-format-error.ts';

const id = fc.string({ minLength: 1, maxLength: 30 });
const VARIANTS = ['cached_input:audio', 'per_image:1024x1024:high', 'per_tool_call:web_search'] as const;
const text = fc.string({ maxLength: 60, unit: 'grapheme' });
const uint32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const amount = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n });
// The catalogue's keys are the codes.
const errorCode = fc.option(fc.constantFrom(...(Object.keys(ERROR_CODES) as ErrorCode[])), { nil: undefined });

const arbitraryFreeEmpty = fc.record({
  requestId: id,
  admittedAtMs: fc.maxSafeNat(),
  accountId: id,
  memberId: id,
  keyId: id,
  operation: fc.constantFrom(...OPERATIONS),
  clientDialect: fc.constantFrom(...DIALECT_NAMES),
  askedModel: text,
  tierId: id,
  markupBasisPoints: uint32,
  maxCostNano: amount,
  leases: fc.array(fc.record({ leaseId: id, amount }), { maxLength: 3 }),
  outcome: fc.constantFrom(...OUTCOMES),
  exactness: fc.constantFrom('exact' as const, 'estimated' as const),
  answeringModelId: fc.option(text, { nil: undefined }),
  askedPriceVersion: uint32,
  answeringPriceVersion: uint32,
  serviceTier: fc.constantFrom(...SERVICE_TIERS),
  usage: fc.record(Object.fromEntries([...COMPONENTS, ...VARIANTS].map((meter) => [meter, fc.maxSafeNat()])), { requiredKeys: [] }),
  chargeNano: amount,
  varianceNano: amount,
  attempts: fc.array(
    fc.record({
      endpointId: text,
      providerId: text,
      modelId: text,
      status: uint32,
      errorCode,
      costNano: amount,
      costVersion: uint32,
      durationMs: uint32,
      upstreamRequestId: fc.option(text, { nil: undefined }),
    }),
    { maxLength: 3 },
  ),
  stream: fc.boolean(),
  status: uint32,
  errorCode,
  firstByteMs: uint32,
  durationMs: uint32,
});

const arbitraryFinal: fc.Arbitrary<Final> = fc
  .tuple(arbitraryFreeEmpty, fc.boolean())
  .map(([final, emptyIsCharged]) => (emptyIsCharged ? { ...final, emptyIsCharged } : final));

describe('a final on the wire', () => {
  it('comes back as it was, every field', () => {
    fc.assert(
      fc.property(arbitraryFinal, (final) => {
        expect(finalFromWire(fromBinary(FinalSchema, toBinary(FinalSchema, finalToWire(final))))).toEqual(final);
      }),
    );
  });

  it('has by hand the bytes that the generated decoder reads as the same message', () => {
    const long = arbitraryFinal.map((final) => ({ ...final, askedModel: final.askedModel.repeat(50) }));
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.maxSafeNat(), fc.oneof(arbitraryFinal, long)), { maxLength: 5 }), (records) => {
        const writer = new UsageRecordsWriter();
        for (const [seq, final] of records) writer.add(seq, final);
        const read = fromBinary(UsageRecordsSchema, writer.take());
        expect(read.records.map((record) => record.seq)).toEqual(records.map(([seq]) => BigInt(seq)));
        expect(read.records.map((record) => record.record.value)).toEqual(records.map(([, final]) => finalToWire(final)));
        expect(writer.take()).toHaveLength(0);
      }),
    );
  });

  it('takes durations that are no uint32', () => {
    const [final] = fc.sample(arbitraryFinal, 1);
    if (final === undefined) throw new Error('no sample');
    const back = finalFromWire(finalToWire({ ...final, firstByteMs: 12.6, durationMs: -3, admittedAtMs: 1000.9 }));
    expect(back).toMatchObject({ firstByteMs: 13, durationMs: 0, admittedAtMs: 1000 });
    expect(finalFromWire(finalToWire({ ...final, durationMs: 1e12 })).durationMs).toBe(2 ** 32 - 1);
  });

  it('names the field that makes no sense', () => {
    const [final] = fc.sample(arbitraryFinal, 1);
    if (final === undefined) throw new Error('no sample');
    const changed = (change: (message: ReturnType<typeof finalToWire>) => void) => {
      const message = finalToWire(final);
      change(message);
      return () => finalFromWire(message);
    };
    const refused = (change: (message: ReturnType<typeof finalToWire>) => void, field: string) => {
      expect(changed(change)).toThrow(WireFormatError);
      expect(changed(change)).toThrow(field);
    };
    refused((message) => {
      message.chargeNano = -1n;
    }, 'charge_nano');
    refused((message) => {
      message.accountId = '';
    }, 'account_id');
    refused((message) => {
      message.outcome = 'paid';
    }, 'outcome');
    refused((message) => {
      message.errorCode = 'toString';
    }, 'error_code');
  });
});

describe('a batch of usage', () => {
  const arbitraryBatch = fc
    .tuple(fc.nat({ max: 5 }), fc.array(arbitraryFinal, { maxLength: 8 }), fc.nat({ max: 3 }))
    .map(([gap, finals, tail]) => {
      const entries = finals.map((final, index) => ({ seq: 7 + (index + 1) * (gap + 1), final }));
      return { incarnation: 2n ** 64n - 3n, firstSeq: 7, lastSeq: (entries.at(-1)?.seq ?? 7) + tail, finals: entries, leases: [] };
    });

  it('comes back as it was, also without a final in it', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryBatch, async (batch) => {
        const message = fromBinary(UsageBatchSchema, toBinary(UsageBatchSchema, await usageBatchToWire(batch)));
        expect(await usageBatchFromWire(message)).toEqual({
          incarnation: batch.incarnation,
          firstSeq: batch.firstSeq,
          lastSeq: batch.lastSeq,
          records: batch.finals.map(({ seq, final }) => ({ seq, ok: true, kind: 'final', final })),
        });
      }),
      { numRuns: 50 },
    );
  });

  it('of more records than one slice keeps their order', async () => {
    const [final] = fc.sample(arbitraryFinal, 1);
    if (final === undefined) throw new Error('no sample');
    const finals = Array.from({ length: 1000 }, (_, index) => ({ seq: index + 1, final }));
    const back = await usageBatchFromWire(await usageBatchToWire({ incarnation: 1n, firstSeq: 1, lastSeq: 1000, finals, leases: [] }));
    expect(back.records.map((record) => record.seq)).toEqual(finals.map((entry) => entry.seq));
  });

  it('gives back a record that makes no sense beside the good ones', async () => {
    const [good, bad] = fc.sample(arbitraryFinal, 2);
    if (good === undefined || bad === undefined) throw new Error('no sample');
    const finals = [
      { seq: 1, final: { ...bad, chargeNano: -5n } },
      { seq: 2, final: good },
    ];
    const back = await usageBatchFromWire(await usageBatchToWire({ incarnation: 1n, firstSeq: 1, lastSeq: 2, finals, leases: [] }));
    expect(back.records).toMatchObject([
      { seq: 1, ok: false, error: { field: 'charge_nano' }, message: { seq: 1n } },
      { seq: 2, ok: true, final: good },
    ]);
  });

  it('is refused as a whole when it is no gzip, or its seqs do not lie in order inside it', async () => {
    const [final] = fc.sample(arbitraryFinal, 1);
    if (final === undefined) throw new Error('no sample');
    const batch = { incarnation: 1n, firstSeq: 5, lastSeq: 6, finals: [{ seq: 5, final }], leases: [] };
    const message = await usageBatchToWire(batch);
    await expect(usageBatchFromWire({ ...message, recordsGzip: Buffer.from('no gzip') })).rejects.toThrow('records_gzip');
    await expect(usageBatchFromWire({ ...message, firstSeq: 6n })).rejects.toThrow('records[0].seq');
    await expect(usageBatchFromWire({ ...message, firstSeq: 4n, lastSeq: 4n })).rejects.toThrow('behind last_seq');
    await expect(usageBatchFromWire({ ...message, lastSeq: 4n })).rejects.toThrow('last_seq');
    await expect(usageBatchFromWire({ ...message, firstSeq: 0n })).rejects.toThrow('first_seq');
  });
});
