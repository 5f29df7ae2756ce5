/**
 * How long a node takes to decide about a request, from the key to the reservation and back: authenticate, plan, bound,
 * reserve in a budget of every kind, settle. No I/O is in it; the leases are the desk's own, and warm.
 *
 *   npx node test/bench/admission.ts [requests]
 */
import { cpus } from 'node:os';
import { type Admitted, admit, type Verdict } from '@meridian/data-plane/admission/admit';
import { authenticate } from '@meridian/data-plane/admission/authenticate';
import { TestBank, writtenAtOnce } from '@meridian/data-plane/admission/testing';
import { PEPPER, samplePicture } from '@meridian/data-plane/control/testing';
import { openaiChat } from '@meridian/data-plane/dialect/openai-chat/index';
import { plan } from '@meridian/data-plane/routing/plan';
import { type Cap, type CapScope, type CapWindow, MAX_LIMIT } from '@meridian/domain/budget';

const REQUESTS = Number(process.argv[2] ?? 200_000);
const WARM_UP_REQUESTS = 20_000;
/** So many requests are open at a time, as on a node that serves. */
const IN_FLIGHT = 64;
const TARGET_P99_US = 50;

const SCOPES: readonly (readonly [CapScope, string])[] = [
  ['key', 'key_1'],
  ['member', 'mem_1'],
  ['account', 'acc_1'],
];
const WINDOWS: readonly CapWindow[] = ['utc_day', 'utc_month'];
const money = SCOPES.flatMap(([scope, scopeId]) =>
  WINDOWS.map(
    (window): Cap => ({ id: `${scope}-${window}`, accountId: 'acc_1', scope, scopeId, window, unit: 'nano_usd', limit: MAX_LIMIT }),
  ),
);
const counts = (['chat_completions', 'images'] as const).map(
  (unit): Cap => ({ id: unit, accountId: 'acc_1', scope: 'member', scopeId: 'mem_1', window: 'utc_day', unit, limit: MAX_LIMIT }),
);
const CAPS = [...money, ...counts];

const SETTINGS = { keyPrefix: 'sk-mrd-', pepper: PEPPER, region: 'us', regionUrls: {} };
// Each request shows images in its answer, which only a model with a price for them takes.
const { picture, apiKey } = samplePicture({ prices: { input: 1_000_000_000n, output: 4_000_000_000n, image_out: 40_000_000_000n } });
for (const cap of CAPS) picture.apply({ kind: 'cap', id: cap.id, version: 1, body: { kind: 'cap', value: cap } });
const model = picture.model('m-1.5');
if (model === undefined) throw new Error('the picture has no model');
// Its own limit is above what every request gets, so that the leases are asked for their room.
const large = { ...model, contextTokens: 400_000, maxOutputTokens: 128_000 };
picture.apply({ kind: 'model', id: model.id, version: 2, body: { kind: 'model', value: large } });
const bank = new TestBank({ limitOf: () => MAX_LIMIT, nowMs: Date.now, write: writtenAtOnce() });
const rooms = { grants: bank.desk, keys: picture, nowMs: Date.now };

const body = (limits: object): Buffer =>
  Buffer.from(
    JSON.stringify({ model: 'm-1.5', messages: [{ role: 'user', content: 'Name a colour.' }], modalities: ['text', 'image'], ...limits }),
  );

interface Figures {
  readonly what: string;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

function reserved(verdict: Verdict | undefined): Admitted {
  if (verdict?.kind !== 'admitted') throw new Error('a request was not admitted at once');
  return verdict;
}

function measure(what: string, limits: object): Figures {
  const { facts } = openaiChat.readPassThrough('chat', body(limits));
  const open: Admitted[] = [];
  const took = new Float64Array(REQUESTS);
  for (let index = -WARM_UP_REQUESTS; index < REQUESTS; index++) {
    const begun = performance.now();
    const atMs = Date.now();
    const principal = authenticate(picture, SETTINGS, apiKey, atMs);
    const planned = plan(picture, facts, principal, 'us', atMs);
    let verdict: Verdict | undefined;
    admit(rooms, principal, facts, planned, (given) => {
      verdict = given;
    });
    const admitted = reserved(verdict);
    const oldest = open.length >= IN_FLIGHT ? open.shift() : undefined;
    if (oldest !== undefined) {
      // What a request of 1,000 tokens comes to; the counts in full.
      const charges = oldest.reservation.leases.map(({ unit, amount }) => (unit === 'nano_usd' ? Math.min(amount, 1_400_000) : amount));
      bank.desk.settle(oldest.reservation, charges, atMs);
    }
    open.push(admitted);
    if (index >= 0) took[index] = (performance.now() - begun) * 1_000;
  }
  for (const { reservation } of open)
    bank.desk.settle(
      reservation,
      reservation.leases.map(() => 0),
      Date.now(),
    );
  took.sort();
  const at = (share: number): number => took[Math.min(REQUESTS - 1, Math.floor(REQUESTS * share))] ?? 0;
  return { what, p50: at(0.5), p99: at(0.99), p999: at(0.999) };
}

/** The first request of a node asks for its leases; what is measured begins when they are there. */
async function warm(): Promise<void> {
  const { facts } = openaiChat.readPassThrough('chat', body({ max_tokens: 100 }));
  const principal = authenticate(picture, SETTINGS, apiKey, Date.now());
  const verdict = await new Promise<Verdict>((resolve) => {
    admit(rooms, principal, facts, plan(picture, facts, principal, 'us', Date.now()), resolve);
  });
  const { reservation } = reserved(verdict);
  bank.desk.settle(
    reservation,
    reservation.leases.map(() => 0),
    Date.now(),
  );
}

await warm();
const figures = [measure('with max_tokens', { max_tokens: 100 }), measure('without a limit', {})];
console.log(
  `${cpus()[0]?.model ?? 'unknown CPU'}, Node ${process.versions.node}; ${REQUESTS} requests each, ${CAPS.length + 1} budgets in force`,
);
console.log('admission (authenticate, plan, bound, reserve, settle), in µs');
for (const { what, p50, p99, p999 } of figures) {
  console.log(`  ${what.padEnd(18)} p50 ${p50.toFixed(1)}   p99 ${p99.toFixed(1)}   p99.9 ${p999.toFixed(1)}`);
}
const worst = Math.max(...figures.map(({ p99 }) => p99));
console.log(`target: p99 ≤ ${TARGET_P99_US} µs: ${worst <= TARGET_P99_US ? 'met' : 'MISSED'}`);
