/** `node control-plane/src/audit/main.ts`: audits the database that DATABASE_URL names. Exits with 1 when the books are not in order. */
import { connect } from '../database/connect.ts';
import { formatReport } from './audit.ts';
import { audit } from './service.ts';

const NO_LIMIT_MS = 0;

async function main(url: string | undefined): Promise<boolean> {
  if (url === undefined || url === '') {
    console.error('audit: DATABASE_URL is not set');
    return false;
  }
  const db = connect(url, { maxConnections: 1, statementTimeoutMs: NO_LIMIT_MS, applicationName: 'meridian-audit' });
  try {
    const report = await audit(db, { nowMs: Date.now });
    console.log(formatReport(report));
    return report.ok;
  } catch (error) {
    console.error(`audit: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  } finally {
    await db.destroy();
  }
}

process.exitCode = (await main(process.env.DATABASE_URL)) ? 0 : 1;
