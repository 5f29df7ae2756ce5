/** `/livez`, `/readyz` and `/metrics`, on a port of their own that no customer reaches. */
import { createServer, type Server } from 'node:http';
import type { Metrics } from '../telemetry/metrics.ts';

export interface Readiness {
  readonly ready: boolean;
  /** Each condition by name, for whoever asks why. */
  readonly checks: Readonly<Record<string, boolean>>;
}

export function createHealthServer(metrics: Metrics, readiness: () => Readiness): Server {
  return createServer((request, response) => {
    const path = request.url?.split('?')[0];
    if (path === '/livez') {
      response.writeHead(200, { 'content-type': 'text/plain' }).end('ok\n');
    } else if (path === '/readyz') {
      const { ready, checks } = readiness();
      response.writeHead(ready ? 200 : 503, { 'content-type': 'application/json' }).end(`${JSON.stringify({ ready, checks })}\n`);
    } else if (path === '/metrics') {
      metrics.registry.metrics().then(
        (text) => response.writeHead(200, { 'content-type': metrics.registry.contentType }).end(text),
        (cause: unknown) => response.writeHead(500, { 'content-type': 'text/plain' }).end(`${String(cause)}\n`),
      );
    } else {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('Try /livez, /readyz or /metrics.\n');
    }
  });
}
