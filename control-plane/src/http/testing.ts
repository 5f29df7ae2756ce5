/** The whole HTTP side on a database of its own, for tests: real services, a held clock. */
import { hash, randomBytes } from 'node:crypto';
import type { FastifyInstance, LightMyRequestResponse } from 'fastify';
import { AccountService } from '../accounts/service.ts';
import { TeamService } from '../accounts/team-service.ts';
import { AuditRuns } from '../audit/runs.ts';
import type { LimitListener, LimitNews } from '../budgets/caps.ts';
import { BudgetService } from '../budgets/service.ts';
import { CatalogService } from '../catalog/service.ts';
import { CredentialService } from '../credentials/service.ts';
import type { Database } from '../database/connect.ts';
import { testDatabase } from '../database/testing.ts';
import { scheduledJobs } from '../jobs/scheduled-jobs.ts';
import { KeyService } from '../keys/service.ts';
import { createCreditServices } from '../ledger/credit.ts';
import { createLedger } from '../ledger/service.ts';
import { NodeService } from '../nodes/service.ts';
import { PlanService } from '../plans/service.ts';
import { PriceImportService } from '../price-import/service.ts';
import { PricingService, salesOf } from '../pricing/service.ts';
import { RestoreService } from '../restore/service.ts';
import { allRoutes, type RoutedServices } from '../routes.ts';
import type { SeedDeps } from '../seed/service.ts';
import { publish } from '../snapshots/service.ts';
import { TierRuns } from '../tiers/runs.ts';
import { createTierService } from '../tiers/service.ts';
import { TrailService } from '../trail/service.ts';
import { createUsageService } from '../usage/service.ts';
import { buildHttp } from './server.ts';
import { Sessions } from './session.ts';

export const ADMIN_TOKEN = 'admin-token-of-the-tests';
/** Named operators; `admin` calls as the first one. */
export const OPERATORS = [
  { name: 'admin', token: ADMIN_TOKEN },
  { name: 'ada', token: 'token-of-the-operator-ada' },
];
export const PEPPER = hash('sha256', 'pepper', 'buffer');
export const SEALING_KEY = hash('sha256', 'sealing key', 'buffer');
const DB_EPOCH = '00000000-0000-4000-8000-000000000000';
export const KEY_PREFIX = 'sk-mrd-';

export interface TestStack {
  readonly app: FastifyInstance;
  readonly db: Database;
  readonly services: RoutedServices;
  readonly seedDeps: SeedDeps;
  /** Held: moves only when a test moves it. */
  readonly clock: { nowMs(): number; advance(ms: number): void };
  /** What those who hand out shares of budgets were told. */
  readonly limitChanges: { readonly budgetIds: readonly string[]; readonly direction: LimitNews }[];
  /** As an operator. */
  admin(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    url: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<LightMyRequestResponse>;
  /** As the bearer of any token. */
  as(
    token: string,
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    url: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<LightMyRequestResponse>;
}

export interface TestHttp extends TestStack {
  /** An account on the starter plan with its owner's token. */
  account(name: string): Promise<{ accountId: string; ownerId: string; token: string }>;
  /** A further member of the account, with a token. */
  member(accountId: string, role: string): Promise<{ memberId: string; token: string }>;
  close(): Promise<void>;
}

/** The server and its services on any database; close `app` when the test is done. */
export function testStack(db: Database): TestStack {
  let nowMs = Date.UTC(2026, 6, 1, 12);
  const clock = {
    nowMs: () => nowMs,
    advance: (ms: number) => {
      nowMs += ms;
    },
  };
  const ids = { nowMs: clock.nowMs, randomBytes: (count: number) => randomBytes(count) };
  const tiers = createTierService({ db, clock, publish });
  const limitChanges: TestStack['limitChanges'] = [];
  const onLimitChanged: LimitListener = (budgetIds, direction) => void limitChanges.push({ budgetIds, direction });
  const budgets = new BudgetService({ db, ids, publish, onLimitChanged });
  const catalog = new CatalogService({ db, ids, publish, sales: salesOf(tiers) });
  const pricing = new PricingService({ db, ids, publish, catalog, tiers });
  const plans = new PlanService({ db, ids, publish, budgets, catalog });
  const accounts = new AccountService({ db, ids, publish, tiers, plans });
  const keys = new KeyService({ db, ids, publish, budgets, catalog, keyPrefix: KEY_PREFIX, pepper: PEPPER });
  const teams = new TeamService({ db, ids, publish, accounts, keys, budgets, pepper: PEPPER });
  const credentials = new CredentialService({ db, ids, publish, catalog, sealingKey: SEALING_KEY });
  const sessions = new Sessions({ jwtSecret: hash('sha256', 'jwt', 'buffer'), operators: OPERATORS, nowMs: clock.nowMs }, accounts, keys);
  const tierRuns = new TierRuns({ db, clock, publish, slowestOnBulk: async () => undefined, pause: async () => undefined });
  const auditRuns = new AuditRuns({ db, clock, onBroken: () => undefined });
  const scheduled = scheduledJobs({ tierRuns, auditRuns });
  const services: RoutedServices = {
    tierRuns,
    auditRuns,
    // At once, where a scheduler would do it soon.
    runSoon: async (name) => {
      await scheduled.find((job) => job.name === name)?.run(new AbortController().signal);
      return true;
    },
    accounts,
    teams,
    plans,
    budgets,
    keys,
    catalog,
    credentials,
    pricing,
    priceImports: new PriceImportService({ db, publish, catalog, pricing, tiers }),
    ledger: createLedger({ db, clock, onLimitChanged }),
    credit: createCreditServices({
      ...{ db, clock, onLimitChanged, addressKey: PEPPER },
      chargeOf: async (accountId, requestId) => (await services.usage.receipt(accountId, requestId)).chargeNano,
    }),
    usage: createUsageService({ db, clock, prices: pricing, onAlarm: () => {} }),
    tiers,
    nodes: new NodeService({ db, clock }),
    restore: new RestoreService({ db, clock, onEvent: () => undefined }, { dbEpoch: DB_EPOCH, restored: undefined }),
    dbEpoch: () => DB_EPOCH,
    db,
    sessions,
    trail: new TrailService({ db, ids }),
    clock,
  };
  let requests = 0;
  const app = buildHttp({
    productName: 'Meridian',
    version: '0.1.0',
    logger: false,
    newRequestId: () => `request-${++requests}`,
    trustedProxies: ['127.0.0.1'],
    ...allRoutes(services),
  });
  const as: TestHttp['as'] = (token, method, url, body, headers = {}) =>
    app.inject({
      method,
      url,
      headers: { authorization: `Bearer ${token}`, ...headers },
      ...(body === undefined ? {} : { payload: body as object }),
    });
  const admin: TestHttp['admin'] = (...request) => as(ADMIN_TOKEN, ...request);
  return {
    app,
    db,
    services,
    seedDeps: { db, ids, publish, plans, catalog, pricing, trail: services.trail },
    clock,
    limitChanges,
    as,
    admin,
  };
}

/** The same on a database of its own, with the starter plan. Call `close()` when the test is done. */
export async function testHttp(): Promise<TestHttp> {
  const database = await testDatabase();
  const stack = testStack(database.db);
  const { accounts, plans, sessions } = stack.services;
  await plans.save({ id: 'starter', name: 'Starter', apiAccess: true });
  return {
    ...stack,
    async account(name) {
      const { account, owner } = await accounts.create({ name, ownerName: `${name} owner` });
      const { token } = await sessions.mint(owner.id, account.id, 3_600);
      return { accountId: account.id, ownerId: owner.id, token };
    },
    async member(accountId, role) {
      const added = await stack.admin('POST', `/admin/v1/accounts/${accountId}/members`, { name: role, role });
      const memberId: string = added.json().id;
      const { token } = await sessions.mint(memberId, accountId, 3_600);
      return { memberId, token };
    },
    async close() {
      await stack.app.close();
      await database.drop();
    },
  };
}
