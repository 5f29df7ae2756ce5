/**
 * `node control-plane/src/restore/main.ts <reason>`: says that the database which DATABASE_URL names was set back, before a control plane
 * is started on it. Exits with 1 when that could not be written down.
 */
import { connect } from '../database/connect.ts';
import { RestoreService } from './service.ts';

async function main(url: string | undefined, reason: string): Promise<boolean> {
  if (url === undefined || url === '' || reason === '') {
    console.error(reason === '' ? 'restored: say why, as the first argument' : 'restored: DATABASE_URL is not set');
    return false;
  }
  const db = connect(url, { maxConnections: 1, applicationName: 'meridian-restore' });
  try {
    const restore = await RestoreService.start({ db, clock: { nowMs: Date.now }, onEvent: () => undefined });
    const { dbEpoch } = await restore.declareRestored(reason);
    const waited = (await restore.status()).spools.filter((spool) => !spool.retired && !spool.replayed);
    console.log(`restored: epoch ${dbEpoch} has begun; nothing is granted until ${waited.length} spools have declared and replayed`);
    for (const { spoolId, nodeId, region } of waited) console.log(`  ${spoolId} of node ${nodeId} in ${region}`);
    return true;
  } catch (error) {
    console.error(`restored: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  } finally {
    await db.destroy();
  }
}

process.exitCode = (await main(process.env.DATABASE_URL, process.argv[2] ?? '')) ? 0 : 1;
