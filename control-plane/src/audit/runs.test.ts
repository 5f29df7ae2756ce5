import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type TestHttp, testHttp } from '../http/testing.ts';
import type { AuditReport } from './audit.ts';
import { AuditRuns } from './runs.ts';

let http: TestHttp;
const alarms: AuditReport[] = [];

beforeEach(async () => {
  http = await testHttp();
  alarms.length = 0;
});
afterEach(() => http.close());

const runs = () => new AuditRuns({ db: http.db, clock: http.clock, onBroken: (report) => alarms.push(report) });

describe('an audit that is kept', () => {
  it('can be looked at later, newest first', async () => {
    expect(await runs().newest()).toBeUndefined();
    const asked = await http.admin('POST', '/admin/v1/audits');
    expect([asked.statusCode, asked.json()]).toEqual([202, { object: 'scheduled_run', job: 'audit', queued: true }]);
    http.clock.advance(1_000);
    const second = await runs().make();
    expect(await runs().newest()).toEqual(second);
    const first = (await http.admin('GET', '/admin/v1/audits?limit=1')).json();
    expect(first).toMatchObject({
      data: [{ id: second.id, object: 'audit', ok: true, started_at: '2026-07-01T12:00:01.000Z' }],
      has_more: true,
    });
    expect(first.data[0].checks).toContainEqual({
      ...{ check: 'accounts stand on tiers of the ladder', ok: true },
      ...{ figures: { assignments: '0', broken: '0' }, examples: [] },
    });
    const page = (await http.admin('GET', `/admin/v1/audits?after=${second.id}`)).json();
    expect([page.data.length, page.has_more]).toEqual([1, false]);
    expect((await http.admin('GET', '/admin/v1/audits?after=last')).statusCode).toBe(400);
    expect(alarms).toEqual([]);
  });

  it('raises the alarm when the books are not in order, and cannot be changed afterwards', async () => {
    await sql`INSERT INTO usage_dead_letter (batch_id, seq, reason, leases, payload) VALUES (1, 1, 'lost', '[]', '')`.execute(http.db);
    expect((await runs().make()).ok).toBe(false);
    expect(alarms.map((report) => report.checks.filter((check) => !check.ok).map((check) => check.check))).toEqual([['no dead letters']]);
    expect((await http.admin('GET', '/admin/v1/audits')).json().data).toMatchObject([{ ok: false }]);
    await expect(sql`UPDATE audit_run SET ok = true`.execute(http.db)).rejects.toThrow('permission denied');
    await expect(sql`DELETE FROM audit_run`.execute(http.db)).rejects.toThrow('permission denied');
  });

  it('finds tiers that are not on the ladder, and those that nodes were told otherwise', async () => {
    const one = await http.account('One');
    const two = await http.account('Two');
    const three = await http.account('Three');
    await sql`UPDATE tier_assignment SET tier_id = 'gold' WHERE account_id = ${one.accountId}`.execute(http.db);
    await sql`UPDATE tier_assignment SET version = 7 WHERE account_id = ${two.accountId}`.execute(http.db);
    await sql`INSERT INTO tier_assignment (account_id, tier_id, window_to) VALUES ('acc_new', 'scale', now()), ('acc_first', 'starter', now())`.execute(
      http.db,
    );
    const { checks } = await runs().make();
    const broken = checks.filter((check) => check.check.includes('tiers')).map((check) => check.examples);
    expect(broken).toEqual([
      [`${one.accountId}: gold`],
      ['acc_new: version 1 scale ≠ never published', `${two.accountId}: version 7 starter ≠ version 1`].sort(),
    ]);
    expect(three.accountId).not.toBe(one.accountId);
  });
});
