/** `/v1/regions`: where an account can call. */
import { z } from 'zod';
import { listedWhole, listOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import type { NodeService } from './service.ts';

/** Routes for members. */
export function regionRoutes(nodes: NodeService): Routes {
  return (app) => {
    addRoute(
      app,
      {
        method: 'GET',
        url: '/v1/regions',
        summary: 'The regions that serve now, with the number of their nodes.',
        answer: listOf(z.object({ id: z.string(), object: z.literal('region'), nodes: z.int() })),
      },
      async () => {
        const counts = new Map<string, number>();
        for (const node of await nodes.list()) {
          if (node.reachable) counts.set(node.region, (counts.get(node.region) ?? 0) + 1);
        }
        const regions = [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
        return listedWhole(regions.map(([id, count]) => ({ id, object: 'region' as const, nodes: count })));
      },
    );
  };
}
