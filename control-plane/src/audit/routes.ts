/** The audit of the books, for operators: at once, and those that were kept. */
import { z } from 'zod';
import type { Database } from '../database/connect.ts';
import { TIME_OUT, time } from '../http/field.ts';
import { listed, listOf, PAGE_FIELDS, pageOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import { SCHEDULED_RUN, scheduleRun } from '../http/scheduled-run.ts';
import type { Routes } from '../http/server.ts';
import { type AuditRun, plainCheck } from './audit.ts';
import type { AuditRuns } from './runs.ts';
import { audit } from './service.ts';

export interface AuditRoutesDeps {
  readonly db: Database;
  readonly clock: { nowMs(): number };
  readonly auditRuns: Pick<AuditRuns, 'list'>;
  /** Puts an audit in the queue of the scheduler. */
  auditSoon(): Promise<boolean>;
}

const CHECKS = z.array(
  z.object({
    check: z.string(),
    ok: z.boolean(),
    figures: z.record(z.string(), z.string()).describe('Integers as text.'),
    examples: z.array(z.string()),
  }),
);

const RUN = z.object({
  id: z.string(),
  object: z.literal('audit'),
  started_at: TIME_OUT,
  finished_at: TIME_OUT,
  ok: z.boolean(),
  checks: CHECKS,
});

/** Routes for operators. */
export function auditRoutes({ db, clock, auditRuns, auditSoon }: AuditRoutesDeps): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/audit',
        summary: 'Check the books: every figure that must agree with another, at one moment. Reads whole tables.',
        answer: z.object({ object: z.literal('audit'), ok: z.boolean(), checks: CHECKS }),
      },
      async () => {
        const report = await audit(db, clock);
        return { object: 'audit', ok: report.ok, checks: report.checks.map(presentCheck) };
      },
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/audits',
        summary: 'The audits that were made every night and on demand, newest first.',
        query: z.strictObject({
          ...PAGE_FIELDS,
          after: z
            .string()
            .regex(/^\d{1,18}$/, 'must be the id of an audit')
            .optional(),
        }),
        answer: listOf(RUN),
      },
      async ({ query }) => {
        const page = pageOf(query);
        return listed(await auditRuns.list(page.limit, page.after), page, presentRun);
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/audits',
        trail: { kind: 'audit_run' },
        summary: 'Make an audit soon, in the background, and keep it.',
        status: 202,
        answer: SCHEDULED_RUN,
      },
      () => scheduleRun('audit', auditSoon),
    );
  };
}

function presentRun({ id, startedAtMs, finishedAtMs, ok, checks }: AuditRun): z.infer<typeof RUN> {
  return { id, object: 'audit', started_at: time(startedAtMs), finished_at: time(finishedAtMs), ok, checks: checks.map(copyOf) };
}

function presentCheck(check: Parameters<typeof plainCheck>[0]): z.infer<typeof CHECKS>[number] {
  return copyOf(plainCheck(check));
}

function copyOf({ check, ok, figures, examples }: AuditRun['checks'][number]): z.infer<typeof CHECKS>[number] {
  return { check, ok, figures: { ...figures }, examples: [...examples] };
}
