/** All routes of the HTTP server, put together from the features: the half of the composition root that is about HTTP. */
import { accountOperatorRoutes, accountRoutes } from './accounts/routes.ts';
import type { AccountService } from './accounts/service.ts';
import { teamRoutes } from './accounts/team-routes.ts';
import type { TeamService } from './accounts/team-service.ts';
import { auditRoutes } from './audit/routes.ts';
import type { AuditRuns } from './audit/runs.ts';
import type { BudgetService } from './budgets/service.ts';
import { catalogRoutes } from './catalog/routes.ts';
import type { CatalogService } from './catalog/service.ts';
import { credentialRoutes } from './credentials/routes.ts';
import type { CredentialService } from './credentials/service.ts';
import type { Database } from './database/connect.ts';
import type { HttpDeps } from './http/server.ts';
import type { Sessions } from './http/session.ts';
import type { ScheduledJobName } from './jobs/scheduled-jobs.ts';
import { keyOperatorRoutes } from './keys/operator-routes.ts';
import { keyRoutes } from './keys/routes.ts';
import type { KeyService } from './keys/service.ts';
import { claimRoutes } from './ledger/claim-routes.ts';
import type { CreditServices } from './ledger/credit.ts';
import { promotionOperatorRoutes, promotionRoutes } from './ledger/promotion-routes.ts';
import { purchaseOperatorRoutes, purchaseRoutes } from './ledger/purchase-routes.ts';
import { creditOperatorRoutes, creditRoutes } from './ledger/routes.ts';
import type { Ledger } from './ledger/service.ts';
import { regionRoutes } from './nodes/region-routes.ts';
import { nodeRoutes } from './nodes/routes.ts';
import type { NodeService } from './nodes/service.ts';
import { planRoutes } from './plans/routes.ts';
import type { PlanService } from './plans/service.ts';
import { priceImportRoutes } from './price-import/routes.ts';
import type { PriceImportService } from './price-import/service.ts';
import { pricingRoutes } from './pricing/routes.ts';
import type { PricingService } from './pricing/service.ts';
import { restoreRoutes } from './restore/routes.ts';
import type { RestoreService } from './restore/service.ts';
import { ladderRoutes } from './tiers/routes.ts';
import type { TierRuns } from './tiers/runs.ts';
import type { TierService } from './tiers/service.ts';
import { trailOperatorRoutes, trailRoutes } from './trail/routes.ts';
import type { TrailService } from './trail/service.ts';
import { usageOperatorRoutes } from './usage/operator-routes.ts';
import { requestRoutes } from './usage/request-routes.ts';
import { usageRoutes } from './usage/routes.ts';
import type { UsageService } from './usage/service.ts';

export interface RoutedServices {
  /** For the audit, which is a reading of everything. */
  readonly db: Database;
  readonly accounts: AccountService;
  readonly teams: TeamService;
  readonly plans: PlanService;
  readonly budgets: BudgetService;
  readonly keys: KeyService;
  readonly catalog: CatalogService;
  readonly credentials: CredentialService;
  readonly pricing: PricingService;
  readonly priceImports: PriceImportService;
  readonly ledger: Ledger;
  readonly credit: CreditServices;
  readonly usage: UsageService;
  readonly tiers: TierService;
  readonly tierRuns: Pick<TierRuns, 'list'>;
  readonly auditRuns: Pick<AuditRuns, 'list'>;
  /** Puts a run of scheduled work in the queue; rejects while there is no scheduler. */
  readonly runSoon: (job: ScheduledJobName) => Promise<boolean>;
  readonly nodes: NodeService;
  readonly restore: RestoreService;
  /** The epoch of the database as it is now. */
  readonly dbEpoch: () => string;
  readonly sessions: Sessions;
  readonly trail: TrailService;
  readonly clock: { nowMs(): number };
}

/** What `buildHttp` takes of the features. */
export function allRoutes(services: RoutedServices): Pick<HttpDeps, 'sessions' | 'trail' | 'accountRoutes' | 'operatorRoutes'> {
  const { accounts, clock, credit, ledger, nodes, sessions, tiers } = services;
  const requireAccount = (accountId: string) => accounts.get(accountId);
  return {
    sessions,
    trail: services.trail,
    accountRoutes: [
      accountRoutes(accounts, services.plans, tiers, services.budgets, clock),
      teamRoutes({ teams: services.teams, accounts, budgets: services.budgets, sessions, clock }),
      keyRoutes(services.keys, clock),
      creditRoutes(ledger),
      purchaseRoutes(credit.purchases),
      promotionRoutes(credit.promotions),
      usageRoutes(services.usage, clock),
      requestRoutes(services.usage, clock),
      regionRoutes(nodes),
      trailRoutes(services.trail),
    ],
    operatorRoutes: [
      accountOperatorRoutes({ accounts, plans: services.plans, tiers, budgets: services.budgets, sessions }),
      keyOperatorRoutes(services.keys, requireAccount, clock),
      planRoutes(services.plans, services.budgets),
      creditOperatorRoutes(ledger, requireAccount),
      purchaseOperatorRoutes(credit.purchases, requireAccount),
      promotionOperatorRoutes(credit.promotions, requireAccount),
      claimRoutes(credit, requireAccount),
      catalogRoutes(services.catalog),
      credentialRoutes(services.credentials),
      pricingRoutes(services.pricing),
      priceImportRoutes(services.priceImports),
      ladderRoutes({
        tiers,
        pricing: services.pricing,
        tierRuns: services.tierRuns,
        tierRunSoon: () => services.runSoon('tiers'),
      }),
      nodeRoutes({ nodes, dbEpoch: services.dbEpoch }),
      auditRoutes({ db: services.db, clock, auditRuns: services.auditRuns, auditSoon: () => services.runSoon('audit') }),
      restoreRoutes(services.restore),
      usageOperatorRoutes(services.usage, clock),
      trailOperatorRoutes(services.trail),
    ],
  };
}
