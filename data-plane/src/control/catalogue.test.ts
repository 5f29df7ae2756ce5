import { type AliasScope, aliasId, type Model, normalizeModelName } from '@meridian/domain/model';
import type { Alias } from '@meridian/domain/snapshot';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { PictureCatalogue } from './catalogue.ts';

const MODELS = ['m-1.5', 'm-2', 'm-3'].map(
  (id): Model => ({
    id,
    vendor: 'acme',
    displayName: id,
    mode: 'chat',
    contextTokens: undefined,
    maxOutputTokens: undefined,
    inputModalities: ['text'],
    outputModalities: ['text'],
    capabilities: [],
    hidesReasoning: false,
    enabled: true,
  }),
);
const ACCOUNTS = ['acc_1', 'acc_2'];
const PLANS = ['pro', 'starter'];
const NAMES = ['m-1.5', 'M-1-5', 'acme/m-2', 'nick', 'Nick'];

const change = fc.record({
  name: fc.constantFrom(...NAMES),
  scope: fc.oneof(
    fc.constant<AliasScope>({}),
    fc.record({ accountId: fc.constantFrom(...ACCOUNTS) }),
    fc.record({ planId: fc.constantFrom(...PLANS) }),
  ),
  /** Undefined: it is deleted. */
  modelId: fc.option(fc.constantFrom(...MODELS.map(({ id }) => id)), { nil: undefined }),
});

/** What a name stands for, found the long way. */
function standsFor(aliases: ReadonlyMap<string, Alias>, name: string, { accountId, planId }: Required<AliasScope>): string | undefined {
  const normalized = normalizeModelName(name);
  const own = MODELS.find(({ id, vendor }) => [id, `${vendor}/${id}`].some((one) => normalizeModelName(one) === normalized));
  return (
    aliases.get(aliasId(name, { accountId }))?.modelId ??
    aliases.get(aliasId(name, { planId }))?.modelId ??
    own?.id ??
    aliases.get(aliasId(name))?.modelId
  );
}

it('resolves names as the aliases that are left say, in whatever order they came, changed and went', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const catalogue = new PictureCatalogue();
      for (const model of MODELS) catalogue.setModel(undefined, model);
      const aliases = new Map<string, Alias>();
      for (const { name, scope, modelId } of changes) {
        const id = aliasId(name, scope);
        const alias: Alias | undefined = modelId === undefined ? undefined : ({ name, modelId, ...scope } as Alias);
        catalogue.setAlias(id, aliases.get(id), alias);
        if (alias === undefined) aliases.delete(id);
        else aliases.set(id, alias);
      }
      for (const accountId of ACCOUNTS) {
        for (const planId of PLANS) {
          const asker = { accountId, planId };
          for (const name of NAMES) expect(catalogue.modelByName(name, asker)?.model.id).toBe(standsFor(aliases, name, asker));
          const isTheirs = (alias: Alias): boolean => (alias.accountId ?? accountId) === accountId && (alias.planId ?? planId) === planId;
          for (const { id } of MODELS) {
            const made = [...aliases.values()].filter((alias) => alias.modelId === id && isTheirs(alias)).map(({ name }) => name);
            expect([...catalogue.aliasesOf(id, asker)].sort()).toEqual(made.sort());
          }
        }
      }
    }),
    { numRuns: 300 },
  );
});
