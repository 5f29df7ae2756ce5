/** A PostgreSQL for one measurement: made for it, thrown away with it. */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPostgres } from '@meridian/local/postgres-server';
import { freePorts } from '../ports.ts';

/** Gives the work the owner's URL of an empty database. */
export async function onPostgres(work: (url: string) => Promise<void>): Promise<void> {
  // Below /tmp, where the server's own account may go.
  const parent = mkdtempSync(join(tmpdir(), 'meridian-bench-'));
  chmodSync(parent, 0o711);
  const [port = 0] = await freePorts(1);
  const password = randomBytes(16).toString('hex');
  try {
    // Filling it is no part of what is measured, and nothing is kept.
    const server = await startPostgres({ folder: join(parent, 'postgres'), port, password, fsync: 'off' }, () => false);
    try {
      await work(`postgresql://meridian:${password}@127.0.0.1:${port}/postgres`);
    } finally {
      await server.stop();
    }
  } finally {
    rmSync(parent, { recursive: true, force: true });
  }
}
