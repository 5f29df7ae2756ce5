/** Whether the ports that a local world needs are free, asked before anything is started. */
import { createServer } from 'node:net';
import type { LocalSettings } from './settings.ts';

/** Throws an Error that names the first port that cannot be had. */
export async function refuseTakenPorts({ ports, databaseUrl }: LocalSettings, simulates: boolean): Promise<void> {
  const wanted: (readonly [string, number])[] = [
    ['control plane', ports.controlHttp],
    ['control plane gRPC', ports.controlGrpc],
    ['control plane health', ports.controlHealth],
    ...ports.nodes.flatMap(({ region, port, healthPort }) => [
      [`node ${region}`, port] as const,
      [`node ${region} health`, healthPort] as const,
    ]),
  ];
  if (databaseUrl === undefined) wanted.push(['PostgreSQL', ports.postgres]);
  if (simulates) wanted.push(['simulated providers', ports.upstream]);
  for (const [name, port] of wanted) {
    const problem = await problemOf(port);
    if (problem === 'EADDRINUSE')
      throw new Error(`Port ${port} (${name}) is taken. Stop what listens there, or choose other ports with --port-base.`);
    if (problem !== undefined) throw new Error(`Port ${port} (${name}) cannot be used (${problem}). Choose other ports with --port-base.`);
  }
}

/** The code of the error, undefined when the port is free. */
function problemOf(port: number): Promise<string | undefined> {
  return new Promise((answer) => {
    const probe = createServer();
    probe.once('error', (error) => answer('code' in error ? String(error.code) : error.message));
    probe.listen(port, '127.0.0.1', () => probe.close(() => answer(undefined)));
  });
}
