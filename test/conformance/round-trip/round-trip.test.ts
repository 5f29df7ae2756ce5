/** Requests of each dialect, ours and recorded ones, through the canonical language and back into their own dialect. */
import { dialectOf } from '@meridian/data-plane/dialect/registry';
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { describe, expect, it } from 'vitest';
import { type RequestSeed, seedsOf } from '../fuzz/seeds.ts';
import { hasRecordings } from '../table/recordings.ts';
import { differencesOf } from './differences.ts';
import { excuse } from './normal-form.ts';

const CAPABILITIES = ['tools', 'reasoning', 'json_schema', 'vision'];
const seeds = seedsOf();
if (!hasRecordings) console.log('recorded requests are not here: only our own go round');

function roundTrip(name: DialectName, { body, place }: RequestSeed) {
  const dialect = dialectOf(name);
  const request = dialect.decodeRequest(Buffer.from(JSON.stringify(body)), place);
  const terms = { model: request.model, maxOutputTokens: undefined, modelMaxOutputTokens: 8_192, capabilities: CAPABILITIES };
  const { body: bytes, losses } = dialect.encodeRequest(request, terms);
  const text = Buffer.concat([...bytes]).toString('utf8');
  return { text, losses, again: (): RequestSeed => ({ body: JSON.parse(text), place }) };
}

/** What no dialect of ours lets pass is refused, which is no loss. */
function refusalOf(run: () => unknown): GatewayError | undefined {
  try {
    run();
    return undefined;
  } catch (thrown) {
    if (thrown instanceof GatewayError && thrown.source === 'client') return thrown;
    throw thrown;
  }
}

/** Messages of one side behind each other become one, and what stands first for the system goes where its dialect has a place for it. */
function isRegrouped(before: unknown, after: unknown): boolean {
  const lengths = [before, after]
    .map((value) => (value as { readonly input?: unknown }).input)
    .map((list) => (Array.isArray(list) ? list.length : 0));
  return lengths[0] !== lengths[1];
}

describe.each(DIALECT_NAMES)('a request of %s', (name) => {
  const going = seeds[name].requests.filter((seed) => refusalOf(() => roundTrip(name, seed)) === undefined);

  it('comes back, but for a few that are refused', () => {
    expect(going.length).toBeGreaterThan(40);
    expect(seeds[name].requests.length - going.length).toBeLessThanOrEqual(5);
  });

  it('comes back as it was, up to its normal form', () => {
    const told = going.flatMap((seed) => {
      const after = roundTrip(name, seed).again().body;
      const ours = differencesOf(seed.body, after).filter((difference) => excuse(name, difference) === undefined);
      return ours.filter(({ path }) => !(path.startsWith('.input[') && isRegrouped(seed.body, after)));
    });
    // Two results that came in another order than their calls change places.
    expect(told.filter(({ before, after }) => !(ORDERED.has(before) && ORDERED.has(after)))).toEqual([]);
  });

  it('does not change any more once it has been through', () => {
    for (const seed of going) {
      const once = roundTrip(name, seed);
      expect(JSON.parse(roundTrip(name, once.again()).text)).toEqual(JSON.parse(once.text));
    }
  });

  it('says the same thing in the canonical language both times', () => {
    const dialect = dialectOf(name);
    for (const seed of going) {
      const once = roundTrip(name, seed).again();
      const twice = roundTrip(name, once).again();
      const [one, other] = [once, twice].map(({ body, place }) => dialect.decodeRequest(Buffer.from(JSON.stringify(body)), place));
      expect(other).toEqual(one);
    }
  });
});

const ORDERED: ReadonlySet<unknown> = new Set(['sun', 'rain']);
