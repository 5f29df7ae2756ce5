/** How the database stands, for operators: set back or not, and who is waited for before anything is granted. */
import { z } from 'zod';
import { TIME_OUT, time } from '../http/field.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { isFrozen } from './restore.ts';
import type { RestoreService } from './service.ts';

const REASON = z.strictObject({ reason: z.string().describe('Kept with the epoch; 1 to 500 characters.') });

const DATABASE = z.object({
  object: z.literal('database'),
  db_epoch: z.string(),
  frozen: z.boolean().describe('Nothing is granted until every spool has declared and replayed.'),
  restored_at: TIME_OUT.nullable(),
  reason: z.string().nullable(),
  thawed_at: TIME_OUT.nullable(),
  thaw_reason: z.string().nullable(),
  spools: z.array(
    z.object({
      id: z.string(),
      node_id: z.string(),
      region: z.string(),
      last_seen_at: TIME_OUT,
      retired: z.boolean(),
      declared: z.boolean().describe('It has said in this epoch what it holds.'),
      replayed: z.boolean().describe('It has sent again in this epoch what it has.'),
    }),
  ),
});

/** `/admin/v1/database`, and what an operator can say about it. */
export function restoreRoutes(restore: RestoreService): Routes {
  return (app) => {
    const answer = async (): Promise<z.input<typeof DATABASE>> => {
      const { spools, ...state } = await restore.status();
      const { restored } = state;
      return {
        object: 'database',
        db_epoch: state.dbEpoch,
        frozen: isFrozen(state),
        restored_at: restored === undefined ? null : time(restored.declaredAtMs),
        reason: restored?.reason ?? null,
        thawed_at: restored?.thawedAtMs === undefined ? null : time(restored.thawedAtMs),
        thaw_reason: restored?.thawReason ?? null,
        spools: spools.map((spool) => ({
          id: spool.spoolId,
          node_id: spool.nodeId,
          region: spool.region,
          last_seen_at: time(spool.lastSeenAtMs),
          retired: spool.retired,
          declared: spool.declared,
          replayed: spool.replayed,
        })),
      };
    };
    addRoute(
      app,
      { method: 'GET', url: '/admin/v1/database', summary: 'How the database stands, and which spools are waited for', answer: DATABASE },
      answer,
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/database/restored',
        trail: { kind: 'database_epoch', note: ['reason'] },
        summary: 'Say that the database was set back: nothing is granted until every node has declared and replayed',
        body: REASON,
        answer: DATABASE,
      },
      async ({ body }) => {
        await restore.declareRestored(body.reason);
        return answer();
      },
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/database/thaw',
        trail: { kind: 'database_epoch', note: ['reason'] },
        summary: 'Grant again without the spools that are missing',
        body: REASON,
        answer: DATABASE,
      },
      async ({ body }) => {
        await restore.thaw(body.reason);
        return answer();
      },
    );
  };
}
