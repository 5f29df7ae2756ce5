import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { CONFIG_KINDS, type ConfigEntry } from '@meridian/domain/snapshot';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigEntrySchema, type ConfigEntry as WireEntry } from '../gen/meridian/v1/config_pb.js';
import { configEntryFromWire, configEntryToWire } from './entry.ts';
import { arbitraryEntry } from './testing.ts';

function overTheWire(entry: ConfigEntry): WireEntry {
  return fromBinary(ConfigEntrySchema, Buffer.from(toBinary(ConfigEntrySchema, configEntryToWire(entry))));
}

describe('an entry over the wire', () => {
  it.each(CONFIG_KINDS)('arrives as it was sent: %s', (kind) => {
    fc.assert(
      fc.property(arbitraryEntry(kind), (entry) => {
        const decoded = configEntryFromWire(overTheWire(entry));
        expect(decoded).toEqual({ unknown: false, entry });
      }),
      { numRuns: 150 },
    );
  });

  it('keeps no view into the message it was decoded from', () => {
    const sealed = Uint8Array.from({ length: 40 }, (_, index) => index);
    const entry: ConfigEntry = {
      kind: 'credential',
      id: 'crd_1',
      version: 3,
      body: { kind: 'credential', value: { id: 'crd_1', providerId: 'prv_1', sealed, enabled: true } },
    };
    const message = Buffer.from(toBinary(ConfigEntrySchema, configEntryToWire(entry)));
    const decoded = configEntryFromWire(fromBinary(ConfigEntrySchema, message));
    message.fill(0xff);
    expect(decoded).toEqual({ unknown: false, entry });
  });

  it('reads the role of a member that was written as "developer"', () => {
    const member = { id: 'mem_1', accountId: 'acc_1', role: 'developer', status: 'active' };
    const wire = create(ConfigEntrySchema, { kind: 'member', id: 'mem_1', version: 2n, body: { case: 'member', value: member } });
    const value = { ...member, role: 'member', status: 'active' } as const;
    expect(configEntryFromWire(wire)).toEqual({
      unknown: false,
      entry: { kind: 'member', id: 'mem_1', version: 2, body: { kind: 'member', value } },
    });
  });

  it('keeps and names an entry of a kind that this build does not know', () => {
    const wire = create(ConfigEntrySchema, { kind: 'residency', id: 'r_1', version: 7n });
    expect(configEntryFromWire(wire)).toEqual({ unknown: true, kind: 'residency', id: 'r_1', version: 7 });
  });
});

describe('an entry that breaks the contract is refused by the name of its field', () => {
  const key = {
    id: 'key_1',
    accountId: 'acc_1',
    memberId: 'mem_1',
    name: '',
    hash: new Uint8Array(33),
    status: 'active',
    allowedModels: [],
    allowedRegions: [],
  };
  const keyEntry = (change: object, entry: object = {}): WireEntry =>
    create(ConfigEntrySchema, {
      kind: 'api_key',
      id: 'key_1',
      version: 1n,
      body: { case: 'apiKey', value: { ...key, ...change } },
      ...entry,
    });

  const endpoint = { id: 'end_1', modelId: 'm', providerId: 'p', credentialId: 'c', upstreamModel: 'u', dialect: 'openai-chat' };
  const priced = (component: string, nanoPerMillion: bigint): WireEntry =>
    create(ConfigEntrySchema, {
      kind: 'endpoint',
      id: 'end_1',
      version: 1n,
      body: {
        case: 'endpoint',
        value: {
          ...endpoint,
          cost: {
            version: 1,
            cards: [
              {
                serviceTier: 'standard',
                prices: [
                  { component: 'input', nanoPerMillion: 1n },
                  { component, nanoPerMillion },
                ],
              },
            ],
          },
        },
      },
    });
  const ladder = (...spends: bigint[]): WireEntry =>
    create(ConfigEntrySchema, {
      kind: 'ladder',
      id: 'l',
      version: 1n,
      body: { case: 'ladder', value: { id: 'l', tiers: spends.map((fromSpendNano) => ({ id: 't', name: 'T', fromSpendNano })) } },
    });
  const alias = (change: object): WireEntry =>
    create(ConfigEntrySchema, {
      kind: 'alias',
      id: 'a',
      version: 1n,
      body: { case: 'alias', value: { name: 'a', modelId: 'm', ...change } },
    });

  it.each<[string, WireEntry]>([
    ['id', keyEntry({}, { id: '' })],
    ['id', keyEntry({}, { id: 'key_2' })],
    ['version', keyEntry({}, { version: 0n })],
    ['version', keyEntry({}, { version: 2n ** 53n })],
    ['body', keyEntry({}, { body: { case: undefined } })],
    ['body', keyEntry({}, { deleted: true })],
    ['body', keyEntry({}, { kind: 'account' })],
    ['api_key.hash', keyEntry({ hash: new Uint8Array(32) })],
    ['api_key.status', keyEntry({ status: 'asleep' })],
    ['api_key.account_id', keyEntry({ accountId: '' })],
    ['api_key.allowed_regions[1]', keyEntry({ allowedRegions: ['us', 'E U'] })],
    ['api_key.expires_at_ms', keyEntry({ expiresAtMs: -1n })],
    [
      'endpoint.cost',
      create(ConfigEntrySchema, { kind: 'endpoint', id: 'end_1', version: 1n, body: { case: 'endpoint', value: endpoint } }),
    ],
    ['endpoint.cost.cards[0].prices.component', priced('smell_out', 1n)],
    ['endpoint.cost.cards[0].prices.component', priced('input', 2n)],
    ['endpoint.cost.cards[0].prices.nano_per_million', priced('output', -1n)],
    // Under the id of one for everybody: a node that knows of no scopes would have taken it as that.
    ['id', alias({ accountId: 'acc_1' })],
    ['id', alias({ planId: 'starter' })],
    ['alias.account_id', alias({ accountId: '' })],
    ['alias.plan_id', alias({ accountId: 'acc_1', planId: 'starter' })],
    ['alias.reasoning_effort', alias({ reasoningEffort: 'furious' })],
    ['ladder.tiers', ladder()],
    ['ladder.tiers', ladder(5n)],
    ['ladder.tiers[2].from_spend_nano', ladder(0n, 9n, 9n)],
  ])('%s', (field, wire) => {
    expect(() => configEntryFromWire(wire)).toThrow(expect.objectContaining({ name: 'WireFormatError', field }));
  });
});
