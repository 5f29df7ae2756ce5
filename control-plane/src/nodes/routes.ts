/** What operators see of the nodes: who is there, and where a change has arrived. */
import { LANES } from '@meridian/domain/snapshot';
import { z } from 'zod';
import { TIME_OUT, time } from '../http/field.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import type { NodeService } from './service.ts';

export interface NodeRoutesDeps {
  readonly nodes: NodeService;
  /** The epoch of the database as it is now. */
  dbEpoch(): string;
}

/** A build that does not follow BULK has none of it. */
const REVS = z.object({ security: z.int(), customer: z.int(), catalog: z.int(), bulk: z.int().optional() });

const NODE = z.object({
  id: z.string(),
  object: z.literal('node'),
  region: z.string(),
  build: z.string(),
  spool_id: z.string(),
  incarnation: z.string(),
  reachable: z.boolean(),
  applied: REVS,
  rejected_entries: z.int(),
  rejections: z.array(
    z.object({ lane: z.enum(LANES), kind: z.string(), id: z.string(), version: z.int(), code: z.string(), detail: z.string() }),
  ),
  connected_at: TIME_OUT,
  last_seen_at: TIME_OUT,
});

/** `/admin/v1/nodes` and `/admin/v1/propagation?lane=SECURITY&rev=…`. */
export function nodeRoutes({ nodes, dbEpoch }: NodeRoutesDeps): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/nodes',
        summary: 'Nodes seen in the last 14 days, and what each has applied',
        answer: z.object({ object: z.literal('list'), data: z.array(NODE), has_more: z.literal(false) }),
      },
      async () => ({
        object: 'list' as const,
        data: (await nodes.list()).map((node) => ({
          id: node.nodeId,
          object: 'node' as const,
          region: node.region,
          build: node.build,
          spool_id: node.spoolId,
          incarnation: String(node.incarnation),
          reachable: node.reachable,
          applied: { security: 0, customer: 0, catalog: 0, ...node.applied },
          rejected_entries: node.rejectedEntries,
          rejections: [...node.rejections],
          connected_at: time(node.connectedAtMs),
          last_seen_at: time(node.lastSeenAtMs),
        })),
        has_more: false as const,
      }),
    );
    addRoute(
      app,
      {
        method: 'GET',
        url: '/admin/v1/propagation',
        summary: 'Which nodes have applied a rev of a lane, which have not yet, and which are not there',
        query: z.strictObject({
          lane: z
            .string()
            .transform((text) => text.toLowerCase())
            .pipe(z.enum(LANES)),
          rev: z.coerce.number().pipe(z.int().min(0)),
        }),
        answer: z.object({
          object: z.literal('propagation'),
          lane: z.enum(LANES),
          rev: z.int(),
          applied: z.array(z.string()),
          pending: z.array(z.string()),
          unreachable: z.array(z.string()),
        }),
      },
      async ({ query: { lane, rev } }) => {
        const { applied, pending, unreachable } = await nodes.propagation(dbEpoch(), lane, rev);
        return { object: 'propagation', lane, rev, applied: [...applied], pending: [...pending], unreachable: [...unreachable] };
      },
    );
  };
}
