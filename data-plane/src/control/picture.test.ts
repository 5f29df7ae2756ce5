import { sealSecret } from '@meridian/domain/sealed-secret';
import type { Alias, ConfigBody, ConfigEntry, ConfigKind, Lane } from '@meridian/domain/snapshot';
import { configEntityId, configEntryToWire } from '@meridian/wire/codec/entry';
import type { ConfigEntry as WireEntry } from '@meridian/wire/gen/config_pb';
import { describe, expect, it } from 'vitest';
import { Intake } from './intake.ts';
import { Picture } from './picture.ts';

const SEALING_KEY = new Uint8Array(32).fill(9);

function entry(body: ConfigBody, version = 1): ConfigEntry {
  return { kind: body.kind, id: configEntityId(body), version, body };
}

function tombstone(kind: ConfigKind, id: string, version: number): ConfigEntry {
  return { kind, id, version, body: undefined };
}

function key(change: object = {}, version = 1): ConfigEntry {
  const value = {
    id: 'key_1',
    accountId: 'acc_1',
    memberId: 'mem_1',
    name: '',
    hash: `01${'ab'.repeat(32)}`,
    status: 'active',
    expiresAtMs: undefined,
    allowedModels: [],
    allowedRegions: [],
    ...change,
  } as const;
  return entry({ kind: 'api_key', value }, version);
}

function plan(id: string, version: number): ConfigEntry {
  return entry({ kind: 'plan', value: { id, name: `${id} at ${version}`, apiAccess: true } }, version);
}

function model(id: string, vendor = 'openai'): ConfigEntry {
  return entry({
    kind: 'model',
    value: {
      id,
      vendor,
      displayName: id,
      mode: 'chat',
      contextTokens: undefined,
      maxOutputTokens: undefined,
      inputModalities: ['text'],
      outputModalities: ['text'],
      capabilities: [],
      hidesReasoning: false,
      enabled: true,
    },
  });
}

function endpoint(id: string, priority: number, modelId = 'gpt-5.4', version = 1): ConfigEntry {
  return entry(
    {
      kind: 'endpoint',
      value: {
        id,
        modelId,
        providerId: 'prv_1',
        credentialId: 'crd_1',
        upstreamModel: 'gpt-5.4',
        dialect: 'openai-chat',
        operations: ['chat'],
        regions: [],
        priority,
        enabled: true,
        cost: { endpointId: id, version: 1, effectiveFromMs: 0, cards: [] },
      },
    },
    version,
  );
}

function credential(secret: string, version: number, options: { sealingKey?: Uint8Array; enabled?: boolean } = {}): ConfigEntry {
  const sealed = sealSecret(options.sealingKey ?? SEALING_KEY, 'crd_1', secret, new Uint8Array(12).fill(version));
  return entry({ kind: 'credential', value: { id: 'crd_1', providerId: 'prv_1', sealed, enabled: options.enabled ?? true } }, version);
}

function pictureOf(...entries: ConfigEntry[]): Picture {
  const picture = new Picture({ sealingKey: SEALING_KEY });
  for (const one of entries) picture.apply(one);
  return picture;
}

describe('an entry', () => {
  it('takes effect only when it is newer, whichever lane brings it', () => {
    const picture = pictureOf(key({}, 3));
    expect(picture.apply(key({ status: 'revoked' }, 5), { security: 9 })).toBe('applied');
    expect(picture.apply(key({ name: 'late' }, 4), { customer: 70 })).toBe('stale');
    expect(picture.apply(key({ name: 'again' }, 5), { customer: 71 })).toBe('stale');
    expect(picture.keyByHash(`01${'ab'.repeat(32)}`)).toMatchObject({ status: 'revoked', name: '' });
  });

  it('that is deleted stays deleted when an older copy comes late', () => {
    const picture = pictureOf(key({}, 1), tombstone('api_key', 'key_1', 3));
    expect(picture.keyByHash(`01${'ab'.repeat(32)}`)).toBeUndefined();
    expect(picture.apply(key({}, 2))).toBe('stale');
    expect(picture.keyByHash(`01${'ab'.repeat(32)}`)).toBeUndefined();
  });

  it('that changes a key’s hash makes the old one unknown', () => {
    const picture = pictureOf(key({}, 1), key({ hash: `01${'cd'.repeat(32)}` }, 2));
    expect(picture.keyByHash(`01${'ab'.repeat(32)}`)).toBeUndefined();
    expect(picture.keyByHash(`01${'cd'.repeat(32)}`)?.id).toBe('key_1');
  });
});

describe('names', () => {
  const ANYBODY = { accountId: 'acc_9', planId: 'starter' };

  it('resolve to a model: bare, prefixed, dots or dashes, and by alias', () => {
    const picture = pictureOf(model('gpt-5.4'), entry({ kind: 'alias', value: { name: 'GPT-latest', modelId: 'gpt-5.4' } }));
    for (const name of ['gpt-5.4', 'openai/gpt-5-4', 'models/GPT-5.4']) {
      expect(picture.modelByName(name, ANYBODY)).toMatchObject({ model: { id: 'gpt-5.4' }, viaAlias: false });
    }
    expect(picture.modelByName('gpt-latest', ANYBODY)).toMatchObject({ model: { id: 'gpt-5.4' }, viaAlias: true, settings: undefined });
    expect(picture.aliasesOf('gpt-5.4', ANYBODY)).toEqual(['GPT-latest']);
    picture.apply(tombstone('alias', 'gpt-latest', 2));
    expect(picture.modelByName('gpt-latest', ANYBODY)).toBeUndefined();
    picture.apply(tombstone('model', 'gpt-5.4', 2));
    expect(picture.modelByName('gpt-5.4', ANYBODY)).toBeUndefined();
    expect([...picture.models()]).toEqual([]);
  });

  it('claimed by two resolve alike whichever came first', () => {
    const [one, two] = [model('gpt-5.4'), model('gpt-5-4')];
    const named = (picture: Picture) => picture.modelByName('gpt-5.4', ANYBODY)?.model.id;
    expect(named(pictureOf(one, two))).toBe(named(pictureOf(two, one)));
  });

  it('of an account go before those of its plan, those before the models’ own, and those before what everybody has', () => {
    const alias = (name: string, modelId: string, rest: Partial<Alias> = {}) => entry({ kind: 'alias', value: { name, modelId, ...rest } });
    const picture = pictureOf(
      ...['opus', 'gpt', 'mini', 'nano'].map((id) => model(id)),
      alias('nick', 'nano'),
      alias('opus', 'mini', { planId: 'pro', settings: { reasoningEffort: 'high' } }),
      alias('nick', 'gpt', { planId: 'pro' }),
      alias('Opus', 'gpt', { accountId: 'acc_1', settings: { reasoningEffort: 'low' } }),
      // An account may have a plan's mapping undone.
      alias('opus', 'opus', { accountId: 'acc_2' }),
    );
    const resolved = (name: string, accountId: string, planId: string): unknown[] => {
      const named = picture.modelByName(name, { accountId, planId });
      return [named?.model.id, named?.viaAlias, named?.settings?.reasoningEffort];
    };
    expect(resolved('OPUS', 'acc_1', 'pro')).toEqual(['gpt', true, 'low']);
    expect(resolved('opus', 'acc_2', 'pro')).toEqual(['opus', true, undefined]);
    expect(resolved('opus', 'acc_3', 'pro')).toEqual(['mini', true, 'high']);
    expect(resolved('opus', 'acc_3', 'starter')).toEqual(['opus', false, undefined]);
    expect(resolved('nick', 'acc_3', 'pro')).toEqual(['gpt', true, undefined]);
    expect(resolved('nick', 'acc_3', 'starter')).toEqual(['nano', true, undefined]);
    // Only the name itself: what a model answers to besides stays its own.
    expect(resolved('openai/opus', 'acc_1', 'pro')).toEqual(['opus', false, undefined]);
    expect(picture.aliasesOf('gpt', { accountId: 'acc_1', planId: 'pro' })).toEqual(['nick', 'Opus']);
    expect(picture.aliasesOf('gpt', { accountId: 'acc_3', planId: 'pro' })).toEqual(['nick']);
    expect(picture.aliasesOf('gpt', { accountId: 'acc_3', planId: 'starter' })).toEqual([]);

    picture.apply(tombstone('alias', 'opus@ACCOUNT:acc_1', 2));
    expect(resolved('opus', 'acc_1', 'pro')).toEqual(['mini', true, 'high']);
    picture.apply(tombstone('alias', 'opus@PLAN:pro', 2));
    expect(resolved('opus', 'acc_1', 'pro')).toEqual(['opus', false, undefined]);
    // A mapping whose model is gone hides the other one all the same: nobody is to be billed for what they were not to get.
    picture.apply(tombstone('model', 'gpt', 2));
    expect(resolved('nick', 'acc_3', 'pro')[0]).toBeUndefined();
    expect(resolved('nick', 'acc_3', 'starter')[0]).toBe('nano');
  });
});

describe('endpoints', () => {
  it('stand in the order of their priority, through changes and removals', () => {
    const picture = pictureOf(endpoint('c', 1), endpoint('a', 5), endpoint('b', 5));
    expect(picture.endpointsOf('gpt-5.4').map((found) => found.id)).toEqual(['c', 'a', 'b']);
    picture.apply(endpoint('c', 9, 'gpt-5.4', 2));
    expect(picture.endpointsOf('gpt-5.4').map((found) => found.id)).toEqual(['a', 'b', 'c']);
    picture.apply(endpoint('a', 5, 'other', 2));
    picture.apply(tombstone('endpoint', 'b', 2));
    expect(picture.endpointsOf('gpt-5.4').map((found) => found.id)).toEqual(['c']);
    expect(picture.endpointsOf('other').map((found) => found.id)).toEqual(['a']);
  });
});

describe('a credential', () => {
  it('is opened when it arrives', () => {
    expect(pictureOf(credential('s3cret', 1)).credentialSecret('crd_1')).toBe('s3cret');
  });

  it('that cannot be opened is refused, and the old one stays', () => {
    const picture = pictureOf(credential('old', 1));
    const foreign = credential('new', 2, { sealingKey: new Uint8Array(32).fill(1) });
    expect(() => picture.apply(foreign)).toThrow(expect.objectContaining({ code: 'unreadable_credential' }));
    expect(picture.credentialSecret('crd_1')).toBe('old');
    expect(picture.apply(credential('newer', 2))).toBe('applied');
  });

  it('can be disabled by somebody who cannot open it', () => {
    const picture = pictureOf(credential('old', 1));
    picture.apply(credential('x', 2, { enabled: false, sealingKey: new Uint8Array(32).fill(1) }));
    expect(picture.credentialSecret('crd_1')).toBeUndefined();
  });
});

describe('tiers', () => {
  const ladder = entry({
    kind: 'ladder',
    value: {
      id: 'default',
      tiers: [
        { id: 'starter', name: 'Starter', fromSpendNano: 0n, markupBasisPoints: 4000 },
        { id: 'growth', name: 'Growth', fromSpendNano: 50n, markupBasisPoints: 3000 },
      ],
    },
  });

  it('are the assigned one, else the first, and unknown only without a ladder', () => {
    expect(pictureOf().tierOf('acc_1')).toBeUndefined();
    const picture = pictureOf(ladder);
    expect(picture.tierOf('acc_1')).toMatchObject({ tier: { id: 'starter' }, spend30dNano: 0n });
    picture.apply(entry({ kind: 'tier_assignment', value: { accountId: 'acc_1', tierId: 'growth', spend30dNano: 77n, windowToMs: 0 } }));
    expect(picture.tierOf('acc_1')).toMatchObject({ tier: { id: 'growth' }, spend30dNano: 77n });
  });
});

describe('what cannot be read', () => {
  const take = (picture: Picture, wire: WireEntry, lane: Lane) => new Intake(picture).take(wire, lane, 1);
  const broken = (status: string, change: Partial<WireEntry> = {}): WireEntry => {
    const wire = configEntryToWire(key({}, 7));
    if (wire.body.case === 'apiKey') wire.body.value.status = status;
    return Object.assign(wire, change);
  };
  const withoutAccount = (version: number): WireEntry => configEntryToWire(key({ accountId: '' }, version));
  const hash = `01${'ab'.repeat(32)}`;

  it('in SECURITY refuses its key until a newer version comes', () => {
    const picture = pictureOf(key({}, 3));
    expect(take(picture, withoutAccount(7), 'security')).toMatchObject({
      kind: 'api_key',
      id: 'key_1',
      version: 7n,
      code: 'invalid_entry',
    });
    expect(picture.keyByHash(hash)?.status).toBe('disabled');
    picture.apply(key({}, 6));
    expect(picture.keyByHash(hash)?.status).toBe('disabled');
    picture.apply(key({}, 8));
    expect(picture.keyByHash(hash)?.status).toBe('active');
  });

  it('in SECURITY refuses a key that is not here yet, so that an older copy cannot let it in', () => {
    const picture = pictureOf();
    take(picture, withoutAccount(7), 'security');
    picture.apply(key({}, 6));
    expect(picture.keyByHash(hash)).toBeUndefined();
  });

  it('in another lane leaves the last good version, unless it is the status that cannot be read', () => {
    const picture = pictureOf(key({}, 3));
    expect(take(picture, withoutAccount(7), 'customer')?.detail).toContain('api_key.account_id');
    expect(picture.keyByHash(hash)?.status).toBe('active');
    take(picture, broken('suspended'), 'customer');
    expect(picture.keyByHash(hash)?.status).toBe('disabled');
  });

  it('that is older than what is held changes nothing', () => {
    const picture = pictureOf(key({}, 9));
    take(picture, broken('suspended'), 'security');
    expect(picture.keyByHash(hash)?.status).toBe('active');
  });

  it('of an unknown kind is kept and counted once an entity', () => {
    const intake = new Intake(pictureOf());
    const wire = Object.assign(configEntryToWire(tombstone('plan', 'x', 1)), { kind: 'residency' });
    expect(intake.take(wire, 'catalog', 1)).toBeUndefined();
    expect(intake.take(wire, 'catalog', 2)).toBeUndefined();
    expect(intake.unknownEntries).toBe(1);
    expect([...intake.unread()].map((kept) => kept.kind)).toEqual(['residency']);
  });
});

describe('a snapshot', () => {
  const take = (picture: Picture, heads: Partial<Record<Lane, number>>, entries: ConfigEntry[], newEpoch = false) => {
    const diff = picture.beginSnapshot(heads, { newEpoch });
    for (const one of entries) diff.apply(one);
    return [...diff.removeAbsent()].length;
  };

  it('removes what it does not hold, and keeps what came after it', () => {
    const picture = pictureOf();
    picture.apply(plan('before', 1), { catalog: 5 });
    picture.apply(plan('after', 1), { catalog: 6 });
    picture.apply(plan('changed', 9), { catalog: 6 });
    take(picture, { catalog: 5 }, [plan('changed', 2), plan('new', 1)]);
    expect(picture.plan('before')).toBeUndefined();
    expect(picture.plan('after')).toBeDefined();
    expect(picture.plan('changed')?.name).toBe('changed at 9');
    expect(picture.plan('new')).toBeDefined();
  });

  it('of another database epoch replaces newer versions too, and keeps refusals', () => {
    const picture = pictureOf(plan('p', 9), plan('gone', 9), key({ status: 'revoked' }, 9));
    take(picture, { catalog: 1 }, [plan('p', 2), key({}, 2)], true);
    expect(picture.plan('p')?.name).toBe('p at 2');
    expect(picture.plan('gone')).toBeUndefined();
    expect(picture.keyByHash(`01${'ab'.repeat(32)}`)?.status).toBe('revoked');
    // Versions count in the new epoch.
    expect(picture.apply(plan('p', 3))).toBe('applied');
    expect(picture.apply(key({}, 3))).toBe('applied');
    expect(picture.keyByHash(`01${'ab'.repeat(32)}`)?.status).toBe('active');
  });

  describe('of another database epoch that has forgotten a refusal', () => {
    const told = { kind: 'api_key', id: 'key_1', version: 9, status: 'revoked' } as const;
    const account = (status: 'active' | 'disabled', version: number) =>
      entry({ kind: 'account', value: { id: 'acc_1', name: '', planId: '', status, balanceNano: 0n, asOfMs: 0 } }, version);
    const member = (status: 'active' | 'disabled', version: number) =>
      entry({ kind: 'member', value: { id: 'mem_1', accountId: 'acc_1', role: 'owner', status } }, version);

    it('leaves it to be told, until a newer version comes', () => {
      const picture = pictureOf(key({ status: 'revoked' }, 9), account('disabled', 4), member('disabled', 5));
      expect([...picture.keptDenials()]).toEqual([]);
      take(picture, { catalog: 1 }, [key({}, 2), account('active', 2), member('active', 2)], true);
      expect([...picture.keptDenials()]).toEqual([
        told,
        { kind: 'account', id: 'acc_1', version: 4, status: 'disabled' },
        { kind: 'member', id: 'mem_1', version: 5, status: 'disabled' },
      ]);
      expect([picture.account('acc_1')?.status, picture.member('mem_1')?.status]).toEqual(['disabled', 'disabled']);
      picture.apply(account('disabled', 2));
      expect([...picture.keptDenials()]).toHaveLength(3);
      picture.apply(account('disabled', 5));
      picture.apply(member('active', 3));
      expect([...picture.keptDenials()]).toEqual([told]);
    });

    it('leaves nothing to be told of what is refused there as well, or not there at all', () => {
      const picture = pictureOf(key({ status: 'revoked' }, 9), account('disabled', 4), member('disabled', 5));
      take(picture, { catalog: 1 }, [key({ status: 'revoked' }, 2), account('disabled', 2)], true);
      expect([...picture.keptDenials()]).toEqual([]);
      expect(picture.member('mem_1')).toBeUndefined();
    });

    it('knows which refusal of a key is the stricter one', () => {
      const disabled = pictureOf(key({ status: 'disabled' }, 9));
      take(disabled, {}, [key({ status: 'revoked' }, 2)], true);
      expect([...disabled.keptDenials()]).toEqual([]);
      expect(disabled.keyByHash(`01${'ab'.repeat(32)}`)?.status).toBe('revoked');
      const revoked = pictureOf(key({ status: 'revoked' }, 9));
      take(revoked, {}, [key({ status: 'disabled' }, 2)], true);
      expect([...revoked.keptDenials()]).toEqual([told]);
      expect(revoked.keyByHash(`01${'ab'.repeat(32)}`)?.status).toBe('revoked');
    });

    it('keeps its version over further epochs, and over a snapshot of the same one', () => {
      const picture = pictureOf(key({ status: 'revoked' }, 9));
      take(picture, {}, [key({}, 2)], true);
      take(picture, {}, [key({}, 1)], true);
      const diff = picture.beginSnapshot({}, { newEpoch: false });
      diff.apply(key({}, 1));
      expect([...picture.keptDenials()]).toEqual([told]);
      // The picture is not what that snapshot says: it must not be stored in the picture's place.
      expect(diff.keptNewer).toBe(1);
      expect(picture.keyByHash(`01${'ab'.repeat(32)}`)?.status).toBe('revoked');
      take(picture, {}, [], true);
      expect([...picture.keptDenials()]).toEqual([]);
    });

    it('and says it in a way that cannot be read, leaves it to be told', () => {
      const picture = pictureOf(key({ status: 'revoked' }, 9));
      const diff = picture.beginSnapshot({}, { newEpoch: true });
      diff.keep('api_key', 'key_1');
      for (const _ of diff.removeAbsent());
      expect([...picture.keptDenials()]).toEqual([told]);
    });

    it('is remembered by what was stored, for what is still refused', () => {
      const picture = pictureOf(key({ status: 'revoked' }, 2), account('active', 2));
      picture.keepDenials([told, { kind: 'account', id: 'acc_1', version: 3, status: 'disabled' }]);
      expect([...picture.keptDenials()]).toEqual([told]);
    });
  });
});

describe('a digest', () => {
  it('differs by version and by id, and not by order', () => {
    const digest = (...entries: ConfigEntry[]) => pictureOf(...entries).digest().plan;
    expect(digest(plan('a', 1), plan('b', 1))).toEqual(digest(plan('b', 1), plan('a', 1)));
    expect(digest(plan('a', 1))).not.toEqual(digest(plan('a', 2)));
    expect(digest(plan('a', 1))).not.toEqual(digest(plan('b', 1)));
    expect(digest(plan('a', 1), tombstone('plan', 'a', 2))).toEqual(digest());
  });
});
