/** Audits of the books that are made every night and kept, so that it is known when the books were last in order. */
import type { Database } from '../database/connect.ts';
import type { AuditReport, AuditRun } from './audit.ts';
import { plainCheck } from './audit.ts';
import { audit } from './service.ts';
import * as store from './store.ts';

const NO_LIMIT_MS = 0;

export interface AuditRunsDeps {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  /** The books are not in order: somebody has to look. */
  readonly onBroken: (report: AuditReport) => void;
}

export class AuditRuns {
  readonly #deps: AuditRunsDeps;

  constructor(deps: AuditRunsDeps) {
    this.#deps = deps;
  }

  /** Audits, keeps what it found, and raises the alarm when the books are not in order. */
  async make(): Promise<AuditRun> {
    const { db, clock, onBroken } = this.#deps;
    const startedAtMs = clock.nowMs();
    const report = await audit(db, clock, NO_LIMIT_MS);
    const run = { startedAtMs, finishedAtMs: clock.nowMs(), ok: report.ok, checks: report.checks.map(plainCheck) };
    const id = await store.insertRun(db, run);
    if (!report.ok) onBroken(report);
    return { id, ...run };
  }

  /** Newest first; one more than `limit`, so that it is known whether more follow. */
  list(limit: number, after: string | undefined): Promise<AuditRun[]> {
    return store.selectRuns(this.#deps.db, { limit: limit + 1, after });
  }

  async newest(): Promise<AuditRun | undefined> {
    const [run] = await store.selectRuns(this.#deps.db, { limit: 1, after: undefined });
    return run;
  }
}
