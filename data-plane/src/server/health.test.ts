import { once } from 'node:events';
import type { Server } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { createMetrics } from '../telemetry/metrics.ts';
import { portOf } from '../testing.ts';
import { createHealthServer } from './health.ts';

let server: Server;
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

describe('the health port', () => {
  it('tells liveness, each condition of readiness, and the metrics', async () => {
    const checks = { picture: false, serving: true };
    const metrics = createMetrics();
    metrics.countRequest('chat', 200);
    server = createHealthServer(metrics, () => ({ ready: checks.picture && checks.serving, checks }));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const get = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${portOf(server)}${path}`);

    expect((await get('/livez')).status).toBe(200);
    const unready = await get('/readyz?verbose');
    expect(unready.status).toBe(503);
    expect(await unready.json()).toEqual({ ready: false, checks });
    checks.picture = true;
    expect((await get('/readyz')).status).toBe(200);
    const scraped = await get('/metrics');
    expect(scraped.headers.get('content-type')).toMatch(/^text\/plain/);
    expect(await scraped.text()).toContain('meridian_requests_total{operation="chat",status="200"} 1');
    expect((await get('/v1/models')).status).toBe(404);
  });
});
