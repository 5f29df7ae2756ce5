/**
 * How long after a customer has an answer `/v1/usage` tells of it: whole processes, PostgreSQL beside them, requests at a steady
 * pace in both regions. `node test/bench/usage-visible.ts [requests] [requests a second]` (1,000 at 50 unless told).
 */
import { ApiClient } from '@meridian/local/operator';
import { provisionAccount, provisionKey } from '@meridian/local/provision';
import { Arena } from '../torture/arena.ts';
import { REGIONS } from '../world/world.ts';

const POLL_MS = 20;
/** One that is not there by then is counted as lost. */
const GIVE_UP_MS = 60_000;

const [requests = 1_000, perSecond = 50] = process.argv.slice(2).map(Number);

async function main(): Promise<void> {
  const arena = await Arena.start({});
  try {
    const [operator] = arena.operators;
    if (operator === undefined) throw new Error('no control plane');
    const customer = await provisionAccount(operator, 'Visible', '1000', 'unlimited');
    const account = new ApiClient(arena.controlUrls[0] ?? '', customer.accountToken);
    const key = await provisionKey(account, 'visible');
    const urls = REGIONS.map((region) => `${arena.nodeUrl(region)}/v1/chat/completions`);
    for (const url of urls) while ((await ask(url, key)).status !== 200) await pause(50);
    const delaysMs: number[] = [];
    let lost = 0;
    const running: Promise<void>[] = [];
    for (let sent = 0; sent < requests; sent++) {
      const url = urls[sent % urls.length] ?? '';
      running.push(
        ask(url, key).then(async ({ status, requestId }) => {
          if (status !== 200) throw new Error(`answered with ${status}`);
          const delayMs = await visibleAfterMs(account, requestId);
          if (delayMs === undefined) lost++;
          else delaysMs.push(delayMs);
        }),
      );
      await pause(1_000 / perSecond);
    }
    await Promise.all(running);
    delaysMs.sort((a, b) => a - b);
    const at = (share: number) => (delaysMs[Math.min(delaysMs.length - 1, Math.floor(share * delaysMs.length))] ?? Number.NaN).toFixed(0);
    console.log(
      `${requests} requests at ${perSecond}/s in ${REGIONS.length} regions: usage visible after p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, at most ${at(1)} ms (asked every ${POLL_MS} ms); never visible: ${lost}`,
    );
    if (lost > 0) process.exitCode = 1;
  } finally {
    await arena.stop();
  }
}

async function ask(url: string, key: string): Promise<{ readonly status: number; readonly requestId: string }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'gpt-4o-mini', max_tokens: 20, messages: [{ role: 'user', content: 'Go on. [[sim tokens=10]]' }] }),
  });
  await response.arrayBuffer();
  return { status: response.status, requestId: response.headers.get('x-request-id') ?? '' };
}

/** From now until the account API has the receipt. */
async function visibleAfterMs(account: ApiClient, requestId: string): Promise<number | undefined> {
  const start = performance.now();
  while (performance.now() - start < GIVE_UP_MS) {
    const found = await account.get(`/v1/usage/requests/${requestId}`).then(
      () => true,
      () => false,
    );
    if (found) return performance.now() - start;
    await pause(POLL_MS);
  }
  return undefined;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

await main();
