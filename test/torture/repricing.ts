/**
 * The operator changes prices while everything breaks: list prices, the markups of the ladder, and runs in which accounts climb it. Each
 * price and markup is unlike every other, so a charge tells which of them it was made at, and whether that was there yet when the request
 * was admitted.
 */
import type { ApiClient, Json } from '@meridian/local/operator';
import { listField, textField } from '@meridian/local/operator';
import pg from 'pg';
import { pick, seededRandom } from '../random.ts';
import { cataloguePrices, type Terms, type TokenPrices } from '../scenario/oracle.ts';

export interface RepricingOptions {
  readonly operators: readonly ApiClient[];
  readonly databaseUrl: string;
  readonly accountIds: readonly string[];
  /** Ids that are also their provider's names for them. */
  readonly models: readonly string[];
  readonly seed: number;
  /** From one change to the next, at the mean. */
  readonly everyMs: number;
}

/** The terms in a request's record. */
export interface Recorded {
  readonly account_id: string;
  readonly admitted_at: Date;
  readonly tier_id: string;
  readonly markup_basis_points: number;
  readonly answering_model_id: string | null;
  readonly answering_price_version: number;
}

export interface Changes {
  prices: number;
  ladders: number;
  tierRuns: number;
}

/** Whose hours are of the past only to be counted by tier runs. */
const HISTORY = 'history';
/** Numbers of units in the hourly table, one for each component. */
const COMPONENTS = 14;
const RUN_INTERVAL_MS = 6 * 3_600_000;

export class Repricing {
  readonly changes: Changes = { prices: 0, ladders: 0, tierRuns: 0 };
  readonly #options: RepricingOptions;
  readonly #random: () => number;
  readonly #ladder: Json[] = [];
  /** When each was first asked for: no request that was admitted before can have it. */
  readonly #markupAskedAtMs = new Map<string, number>();
  readonly #tierAskedAtMs = new Map<string, number>();
  readonly #priceAskedAtMs = new Map<string, number>();
  readonly #versions = new Map<string, TokenPrices>();
  readonly #rungs = new Map<string, number>();
  #change = 0;
  #stopped = false;

  constructor(options: RepricingOptions) {
    this.#options = options;
    this.#random = seededRandom(options.seed + 7);
  }

  /** Reads the ladder as it is. */
  async prepare(): Promise<void> {
    const ladder = (await this.#operator().get('/admin/v1/ladder')).tiers;
    if (!Array.isArray(ladder)) throw new Error('there is no ladder');
    this.#ladder.push(...(ladder as Json[]));
    for (const tier of this.#ladder) this.#markupAskedAtMs.set(markupName(textField(tier, 'id'), basisPointsOf(tier)), 0);
    const [lowest] = this.#ladder;
    for (const accountId of this.#options.accountIds) {
      this.#tierAskedAtMs.set(`${accountId} ${lowest?.id}`, 0);
      this.#rungs.set(accountId, 0);
    }
    for (const modelId of this.#options.models) this.#priceAskedAtMs.set(priceName(modelId, cataloguePrices(modelId)), 0);
  }

  /** Until `stop`. What does not go through for a broken connection is told as asked for all the same. */
  async run(): Promise<void> {
    for (let turn = 0; !this.#stopped; turn++) {
      const change = [() => this.#setLadder(), () => this.#reprice(), () => this.#climb(), () => this.#reprice()][turn % 4];
      await change?.().catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, this.#options.everyMs * (0.5 + this.#random())));
    }
  }

  stop(): void {
    this.#stopped = true;
  }

  /** After the last request: takes back what was made up for tier runs, and reads which version is which price. */
  async finish(): Promise<void> {
    await this.#query(`DELETE FROM usage_hourly WHERE key_id = '${HISTORY}'`);
    for (const modelId of this.#options.models) {
      for (const version of listField(await this.#operator().get(`/admin/v1/list-prices?model_id=${modelId}`))) {
        const cards = version.cards as readonly Json[];
        const card = cards.find((one) => one.service_tier === 'standard' && one.above_input_tokens === 0);
        this.#versions.set(`${modelId} ${version.version}`, pricesOf(card?.prices_usd_per_million as Readonly<Record<string, string>>));
      }
    }
  }

  /** What a request is to be charged at, by its record; with what is wrong with that. */
  termsOf(record: Recorded): { readonly terms: Terms; readonly problems: readonly string[] } {
    const { account_id: accountId, tier_id: tierId, markup_basis_points: markupBasisPoints } = record;
    const problems: string[] = [];
    const admittedAtMs = record.admitted_at.getTime();
    const wasThere = (what: string, askedAtMs: number | undefined): void => {
      if (askedAtMs === undefined) problems.push(`${what}, which nobody has set`);
      else if (askedAtMs > admittedAtMs) problems.push(`${what}, which was set ${askedAtMs - admittedAtMs} ms after it was admitted`);
    };
    wasThere(`a markup of ${markupBasisPoints} in ${tierId}`, this.#markupAskedAtMs.get(markupName(tierId, markupBasisPoints)));
    wasThere(`the tier ${tierId}`, this.#tierAskedAtMs.get(`${accountId} ${tierId}`));
    const modelId = record.answering_model_id ?? '';
    const prices = this.#versions.get(`${modelId} ${record.answering_price_version}`);
    if (prices === undefined) problems.push(`version ${record.answering_price_version} of ${modelId}, which there is not`);
    else wasThere(`version ${record.answering_price_version}`, this.#priceAskedAtMs.get(priceName(modelId, prices)));
    return { terms: { prices: prices ?? cataloguePrices(this.#options.models[0] ?? ''), markupBasisPoints }, problems };
  }

  /** A little above the catalogue's price: never under cost. */
  async #reprice(): Promise<void> {
    const modelId = pick(this.#options.models, this.#random());
    const before = cataloguePrices(modelId);
    const perMille = 1_000 + ++this.#change;
    const usd = (price: string): string => ((Number(price) * perMille) / 1_000).toFixed(6);
    const prices: TokenPrices = {
      input: usd(before.input),
      output: usd(before.output),
      cached: usd(before.cached),
      written5m: usd(before.written5m),
      written1h: usd(before.written1h),
    };
    const name = priceName(modelId, prices);
    this.#priceAskedAtMs.set(name, Math.min(this.#priceAskedAtMs.get(name) ?? Number.POSITIVE_INFINITY, Date.now()));
    await this.#operator().post('/admin/v1/list-prices', {
      model_id: modelId,
      // Other service tiers follow the standard prices then, some below what they cost.
      confirm: true,
      cards: [
        {
          prices_usd_per_million: {
            input: prices.input,
            output: prices.output,
            cached_input: prices.cached,
            cache_write_5m: prices.written5m,
            cache_write_1h: prices.written1h,
            image_in: prices.input,
          },
        },
      ],
    });
    this.changes.prices++;
  }

  /** The same tiers, each a little dearer. */
  async #setLadder(): Promise<void> {
    const more = ++this.#change;
    const tiers = this.#ladder.map((tier) => {
      const basisPoints = basisPointsOf(tier) + more;
      this.#markupAskedAtMs.set(markupName(textField(tier, 'id'), basisPoints), Date.now());
      return { id: tier.id, name: tier.name, from_spend_usd: tier.from_spend_usd, markup_percent: basisPoints / 100 };
    });
    await this.#operator().put('/admin/v1/ladder', { tiers });
    this.changes.ladders++;
  }

  /** An account that has spent so much in the past that the next run raises it. */
  async #climb(): Promise<void> {
    const accountId = pick(this.#options.accountIds, this.#random());
    const rung = (this.#rungs.get(accountId) ?? 0) + 1;
    const tier = this.#ladder[rung];
    if (tier === undefined) return;
    this.#rungs.set(accountId, rung);
    this.#tierAskedAtMs.set(`${accountId} ${tier.id}`, Date.now());
    const windowTo = Math.floor(Date.now() / RUN_INTERVAL_MS) * RUN_INTERVAL_MS;
    const listNano = BigInt(Math.round(Number(tier.from_spend_usd) * 1e9));
    await this.#query(
      `INSERT INTO usage_hourly
       SELECT '${accountId}', '${new Date(windowTo - 24 * 3_600_000).toISOString()}', '', '${HISTORY}', '${HISTORY}', 'us', ${rung}, 'starter',
         1, 1, 0, ${'0, '.repeat(COMPONENTS)} ${listNano}, ${listNano}, 0, 0;
       DELETE FROM tier_run_spend; DELETE FROM tier_run`,
    );
    await this.#operator().post('/admin/v1/tier-runs', {});
    this.changes.tierRuns++;
  }

  /** Statements of one transaction, as the owner of the database. */
  async #query(statements: string): Promise<void> {
    const client = new pg.Client({ connectionString: this.#options.databaseUrl });
    client.on('error', () => undefined);
    await client.connect();
    try {
      await client.query(statements);
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  #operator(): ApiClient {
    return pick(this.#options.operators, this.#random());
  }
}

function basisPointsOf(tier: Json): number {
  return Math.round(Number(tier.markup_percent) * 100);
}

function markupName(tierId: string, basisPoints: number): string {
  return `${tierId} ${basisPoints}`;
}

/** Prices are unlike each other by what they are, however they are written. */
function priceName(modelId: string, prices: TokenPrices): string {
  return `${modelId} ${[prices.input, prices.output, prices.cached, prices.written5m, prices.written1h].map(Number).join(' ')}`;
}

function pricesOf(usd: Readonly<Record<string, string>>): TokenPrices {
  const { input = '0', output = '0' } = usd;
  const written5m = usd.cache_write_5m ?? input;
  return { input, output, cached: usd.cached_input ?? input, written5m, written1h: usd.cache_write_1h ?? written5m };
}
