/** The audit of the books, for operators. */
import { z } from 'zod';
import type { Database } from '../database/connect.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { audit } from './service.ts';

/** Routes for operators. */
export function auditRoutes(db: Database, clock: { nowMs(): number }): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/audit',
        summary: 'Check the books: every figure that must agree with another, at one moment. Reads whole tables.',
        answer: z.object({
          object: z.literal('audit'),
          ok: z.boolean(),
          checks: z.array(
            z.object({
              check: z.string(),
              ok: z.boolean(),
              figures: z.record(z.string(), z.string()).describe('Integers as text.'),
              examples: z.array(z.string()),
            }),
          ),
        }),
      },
      async () => {
        const report = await audit(db, clock);
        const checks = report.checks.map(({ check, ok, figures, examples }) => ({
          check,
          ok,
          figures: Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, String(value)])),
          examples: [...examples],
        }));
        return { object: 'audit', ok: report.ok, checks };
      },
    );
  };
}
