/** The catalogue file: what an operator writes in YAML, read and checked, with the line of whatever is wrong. */
import { MAX_LIMIT } from '@meridian/domain/budget';
import type { Model } from '@meridian/domain/model';
import { type RateCard, SERVICE_TIERS } from '@meridian/domain/price';
import { isMeter } from '@meridian/domain/usage';
import { isMap, isScalar, LineCounter, type ParsedNode, parseDocument } from 'yaml';
import { z } from 'zod';
import {
  type AliasInput,
  aliasKey,
  DIALECT_NAMES,
  type EndpointInput,
  MODALITIES,
  MODEL_MODES,
  OPERATIONS,
  operationsOf,
  ownNames,
  type ProviderInput,
} from '../catalog/catalog.ts';
import { AUTH_FIELD, QUIRKS_FIELD } from '../catalog/provider-ways-field.ts';
import { plainCards, problemOfCards, readPrices } from '../catalog/rate-card.ts';
import type { PlanTerms } from '../plans/plan.ts';
import { RATE_LIMITS, rateLimitsOf } from '../plans/rate-limits.ts';

export interface CatalogueModel {
  readonly model: Model;
  readonly aliases: readonly AliasInput[];
  readonly price: readonly RateCard[];
  readonly endpoints: readonly EndpointInput[];
}

export interface Catalogue {
  readonly plans: readonly PlanTerms[];
  readonly providers: readonly ProviderInput[];
  readonly models: readonly CatalogueModel[];
}

/** The file cannot be used; the message names the file, the line and the field. */
export class CatalogueFileError extends Error {
  constructor(file: string, line: number | undefined, problem: string) {
    super(`${file}${line === undefined ? '' : `, line ${line}`}: ${problem}`);
    this.name = 'CatalogueFileError';
  }
}

/** A number would already have been rounded when we see it, so amounts are written in quotes. */
const USD_PER_MILLION = z
  .string('must be a decimal string in quotes, such as "2.50"')
  .regex(/^\d{1,12}(\.\d{1,9})?$/, 'must be a decimal amount of USD per million units with at most 9 decimals');

const CARD = z
  .object({
    tier: z.enum(SERVICE_TIERS as [(typeof SERVICE_TIERS)[number]]).default('standard'),
    above: z.int().min(0).default(0),
    percent_of_standard: z.int().min(1).max(10_000).optional(),
  })
  .catchall(USD_PER_MILLION)
  .superRefine(({ tier, above, percent_of_standard, ...prices }, context) => {
    const issue = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message });
    for (const field of Object.keys(prices)) if (!isMeter(field)) issue(field, 'there is no such field');
    if (percent_of_standard === undefined) return;
    if (Object.keys(prices).length > 0) issue('percent_of_standard', 'stands in place of prices, not beside them');
    if (tier === 'standard' || above > 0) issue('percent_of_standard', 'is for a tier other than standard, at any length');
  });

const CARDS = z.array(CARD).min(1).max(32);
const SHORT = z.string().min(1).max(200);

const ENDPOINT = z.strictObject({
  provider: SHORT,
  model: SHORT,
  priority: z.int().min(0).max(1_000_000).default(100),
  dialect: z.enum(DIALECT_NAMES as [(typeof DIALECT_NAMES)[number]]).default('openai-chat'),
  operations: z.array(z.enum(OPERATIONS as [(typeof OPERATIONS)[number]])).optional(),
  regions: z.array(SHORT).default([]),
  enabled: z.boolean().default(true),
  cost: CARDS.optional(),
});

const FILE = z.strictObject({
  plans: z
    .array(
      z.strictObject({
        id: SHORT,
        name: SHORT,
        api_access: z.boolean(),
        models: z.array(SHORT).default([]),
        daily_chat_completions: z.int().min(0).max(MAX_LIMIT).optional(),
        daily_images: z.int().min(0).max(MAX_LIMIT).optional(),
        max_message_characters: z.int().positive().max(2_147_483_647).optional(),
        rate_limits: RATE_LIMITS.optional(),
        model_rate_limits: RATE_LIMITS.optional(),
      }),
    )
    .default([]),
  providers: z
    .array(
      z.strictObject({
        id: z.string().regex(/^[a-z][a-z0-9_-]{0,63}$/, 'must be lower-case letters, digits, dashes'),
        name: SHORT,
        origin: z
          .url({ protocol: /^https?$/ })
          .refine((text) => URL.canParse(text) && new URL(text).origin === text, 'must be an origin such as https://api.example.com'),
        base_path: z.string().regex(/^(\/[A-Za-z0-9._~-]+)*$/, 'must be empty or a path such as /v1'),
        adapter: SHORT,
        enabled: z.boolean().default(true),
        auth: AUTH_FIELD.nullable().default(null),
        quirks: QUIRKS_FIELD.default([]),
      }),
    )
    .default([]),
  models: z
    .array(
      z.strictObject({
        id: SHORT,
        vendor: SHORT,
        name: SHORT,
        mode: z.enum(MODEL_MODES),
        context_tokens: z.int().positive().optional(),
        max_output_tokens: z.int().positive().optional(),
        input: z.array(z.enum(MODALITIES)),
        output: z.array(z.enum(MODALITIES)),
        capabilities: z.array(SHORT).default([]),
        hides_reasoning: z.boolean().default(false),
        enabled: z.boolean().default(true),
        aliases: z.array(SHORT).default([]),
        prices: CARDS,
        endpoints: z.array(ENDPOINT).default([]),
      }),
    )
    .default([]),
});

type FileModel = z.infer<typeof FILE>['models'][number];

/** Reads the text of a catalogue file. `file` is its name, for messages. Throws CatalogueFileError. */
export function readCatalogue(file: string, text: string): Catalogue {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const syntax = document.errors[0];
  if (syntax !== undefined)
    throw new CatalogueFileError(file, lines.linePos(syntax.pos[0]).line, syntax.message.split('\n', 1)[0] ?? 'is not YAML');
  const fail = (path: readonly PropertyKey[], problem: string): never => {
    throw new CatalogueFileError(file, lineOf(document.contents, path, lines), `${path.map(String).join('.')}: ${problem}`);
  };
  const checked = FILE.safeParse(document.toJS({ maxAliasCount: 0 }));
  if (!checked.success) {
    const issue = checked.error.issues[0];
    if (issue?.code === 'unrecognized_keys') return fail([...issue.path, issue.keys[0] ?? ''], 'there is no such field');
    return fail(issue?.path ?? [], issue?.message ?? 'is not a catalogue');
  }
  const { plans, providers, models } = checked.data;
  refuseRepeated(plans, 'plans', fail);
  refuseRepeated(providers, 'providers', fail);
  refuseRepeated(models, 'models', fail);
  const names = new Map<string, string>();
  return {
    plans: plans.map((plan, index) => {
      for (const [at, id] of plan.models.entries()) {
        if (!models.some((model) => model.id === id)) fail(['plans', index, 'models', at], `there is no model ${id}`);
      }
      return readPlan(plan);
    }),
    providers: providers.map(({ base_path, ...rest }) => ({ ...rest, basePath: base_path })),
    models: models.map((model, index) => {
      const at = (path: readonly PropertyKey[], problem: string) => fail(['models', index, ...path], problem);
      const read = readModel(model, new Set(providers.map((provider) => provider.id)), at);
      for (const name of [...ownNames(read.model), ...read.aliases.map((alias) => aliasKey(alias.name))]) {
        const taken = names.get(name);
        if (taken !== undefined) at([], `the name ${name} belongs to ${taken} already`);
        names.set(name, model.id);
      }
      return read;
    }),
  };
}

function readPlan(plan: z.infer<typeof FILE>['plans'][number]): PlanTerms {
  const rateLimits = rateLimitsOf(plan.rate_limits);
  const modelRateLimits = rateLimitsOf(plan.model_rate_limits);
  return {
    id: plan.id,
    name: plan.name,
    apiAccess: plan.api_access,
    ...(plan.models.length === 0 ? {} : { allowedModels: plan.models }),
    ...(plan.daily_chat_completions === undefined ? {} : { dailyChatCompletions: plan.daily_chat_completions }),
    ...(plan.daily_images === undefined ? {} : { dailyImages: plan.daily_images }),
    ...(plan.max_message_characters === undefined ? {} : { maxMessageCharacters: plan.max_message_characters }),
    ...(rateLimits === undefined ? {} : { rateLimits }),
    ...(modelRateLimits === undefined ? {} : { modelRateLimits }),
  };
}

type Fail = (path: readonly PropertyKey[], problem: string) => never;

function readModel(model: FileModel, providerIds: ReadonlySet<string>, fail: Fail): CatalogueModel {
  const price = readCardList(model.prices, (path, problem) => fail(['prices', ...path], problem));
  return {
    model: {
      id: model.id,
      vendor: model.vendor,
      displayName: model.name,
      mode: model.mode,
      contextTokens: model.context_tokens,
      maxOutputTokens: model.max_output_tokens,
      inputModalities: model.input,
      outputModalities: model.output,
      capabilities: model.capabilities,
      hidesReasoning: model.hides_reasoning,
      enabled: model.enabled,
    },
    aliases: aliasesOf(model),
    price,
    endpoints: model.endpoints.map((endpoint, index) => {
      if (!providerIds.has(endpoint.provider)) fail(['endpoints', index, 'provider'], `there is no provider ${endpoint.provider}`);
      return {
        modelId: model.id,
        providerId: endpoint.provider,
        credentialId: undefined,
        upstreamModel: endpoint.model,
        dialect: endpoint.dialect,
        operations: endpoint.operations ?? operationsOf(model.mode),
        regions: endpoint.regions,
        priority: endpoint.priority,
        enabled: endpoint.enabled,
        cost:
          endpoint.cost === undefined
            ? price
            : readCardList(endpoint.cost, (path, problem) => fail(['endpoints', index, 'cost', ...path], problem)),
      };
    }),
  };
}

/** An alias is also known with the vendor in front, as the model's own name is. */
function aliasesOf(model: FileModel): AliasInput[] {
  const own = new Set(ownNames(model));
  const byKey = new Map<string, string>();
  for (const name of model.aliases) {
    for (const written of name.includes('/') ? [name] : [name, `${model.vendor}/${name}`]) {
      if (!own.has(aliasKey(written))) byKey.set(aliasKey(written), written);
    }
  }
  return [...byKey.values()].map((name) => ({ name, modelId: model.id }));
}

function readCardList(cards: z.infer<typeof CARDS>, fail: Fail): RateCard[] {
  const read = plainCards(
    cards.map(({ tier, above, percent_of_standard: percentOfStandard, ...prices }) =>
      percentOfStandard === undefined
        ? { serviceTier: tier, aboveInputTokens: above, prices: readPrices(prices) }
        : { serviceTier: tier, percentOfStandard },
    ),
  );
  const problem = problemOfCards(read);
  return problem === undefined ? read : fail([], problem);
}

function refuseRepeated(items: readonly { readonly id: string }[], list: string, fail: Fail): void {
  const seen = new Set<string>();
  for (const [index, { id }] of items.entries()) {
    if (seen.has(id)) fail([list, index, 'id'], `${id} is there twice`);
    seen.add(id);
  }
}

/** The line of the deepest node on the path that exists: for a field that is missing, that of what it is missing from. */
function lineOf(contents: ParsedNode | null, path: readonly PropertyKey[], lines: LineCounter): number | undefined {
  let node: unknown = contents;
  let offset = contents?.range[0];
  for (const part of path) {
    if (typeof node !== 'object' || node === null || !('items' in node) || !Array.isArray(node.items)) break;
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === part);
      if (pair === undefined) break;
      if (isScalar(pair.key) && pair.key.range) offset = pair.key.range[0];
      node = pair.value;
    } else {
      node = node.items[Number(part)];
      if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)) offset = Number(node.range[0]);
    }
  }
  return offset === undefined ? undefined : lines.linePos(offset).line;
}
