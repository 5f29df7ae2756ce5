/** `/livez`, `/readyz` and `/metrics`, on a port of their own that no customer reaches. */
import { createServer, type Server } from 'node:http';
import type { Registry } from 'prom-client';

export interface HealthDeps {
  readonly registry: Registry;
  /** Each condition by name; ready when all hold. */
  checks(): Promise<Readonly<Record<string, boolean>>>;
}

export function createHealthServer({ registry, checks }: HealthDeps): Server {
  return createServer((request, response) => {
    const answer = (status: number, contentType: string, text: string): void => {
      response.writeHead(status, { 'content-type': contentType }).end(text);
    };
    const failed = (cause: unknown): void => answer(500, 'text/plain', `${cause instanceof Error ? cause.message : String(cause)}\n`);
    switch (request.url?.split('?')[0]) {
      case '/livez':
        return answer(200, 'text/plain', 'ok\n');
      case '/readyz':
        checks().then((each) => {
          const ready = Object.values(each).every((good) => good);
          answer(ready ? 200 : 503, 'application/json', `${JSON.stringify({ ready, checks: each })}\n`);
        }, failed);
        return;
      case '/metrics':
        registry.metrics().then((text) => answer(200, registry.contentType, text), failed);
        return;
      default:
        return answer(404, 'text/plain', 'Try /livez, /readyz or /metrics.\n');
    }
  });
}
