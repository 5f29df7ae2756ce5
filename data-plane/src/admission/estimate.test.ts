import { maxCost } from '@meridian/domain/max-cost';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Asked, type Estimate, estimate, fittingLimit, type Room, type Ways } from './estimate.ts';

const PRICE = {
  modelId: 'm',
  version: 1,
  effectiveFromMs: 0,
  cards: [{ serviceTier: 'standard', aboveInputTokens: 0, prices: { input: 1_000_000_000n, output: 4_000_000_000n } }],
} as const;
const DEARER = {
  ...PRICE,
  modelId: 'n',
  cards: [{ ...PRICE.cards[0], prices: { input: 2_000_000_000n, output: 8_000_000_000n } }],
} as const;
const ASKED: Asked = {
  operation: 'chat',
  maxOutputTokens: undefined,
  choices: 1,
  serviceTier: 'standard',
  /** 1,000 with what vendors put before a chat. */
  inputTokensBound: 232,
  readsBeyondBody: false,
  unbounded: undefined,
  takesOutputLimit: true,
  images: 0,
};
const MODEL = { contextTokens: 200_000, maxOutputTokens: 32_000 };
const WAYS: Ways = { listPrice: PRICE, candidates: [{ model: MODEL, listPrice: PRICE }] };
/** $1 of output at the price with the markup is 1,000,000 ÷ 5.6 tokens. */
const roomOf =
  (free: number, inFlight = 0): Room =>
  () => ({ free, inFlight });
const NOBODY_ASKS: Room = () => {
  throw new Error('the room was asked for');
};

function of(asked: Partial<Asked>, room: Room = NOBODY_ASKS, ways: Ways = WAYS): Estimate {
  return estimate({ ...ASKED, ...asked }, ways, 4_000, room);
}

describe('the bound of a request', () => {
  it('takes the limit that the client gave, whatever it is', () => {
    expect(of({ maxOutputTokens: 7 })).toMatchObject({ maxOutputTokens: 7, addedLimit: undefined, maxCostNano: 1_439_200n });
    expect(of({ maxOutputTokens: 10_000_000, choices: 3 })).toMatchObject({
      demand: { outputTokens: 30_000_000 },
      maxOutputTokens: 10_000_000,
      addedLimit: undefined,
    });
  });

  it('counts what is paid by the piece at its dearest variant, and the request itself', () => {
    const prices = {
      input: 0n,
      output: 0n,
      per_request: 5_000_000_000n,
      per_image: 40_000_000_000n,
      'per_image:1024x1024:high': 160_000_000_000n,
    };
    const listPrice = { ...PRICE, cards: [{ ...PRICE.cards[0], prices: { ...prices, 'per_tool_call:web_search': 10_000_000_000n } }] };
    const ways: Ways = { listPrice, candidates: [{ model: MODEL, listPrice }] };
    const cost = (beyondText: Asked['beyondText']) =>
      estimate({ ...ASKED, maxOutputTokens: 1, ...(beyondText === undefined ? {} : { beyondText }) }, ways, 0, NOBODY_ASKS).maxCostNano;
    const search = { meter: 'per_tool_call:web_search', atMost: 16 } as const;
    expect(cost(undefined)).toBe(5_000n);
    expect(cost([{ meter: 'audio_in', atMost: undefined }])).toBe(5_000n);
    expect(cost([search])).toBe(165_000n);
    expect(cost([search, search, { meter: 'image_out', atMost: 2 }])).toBe(5_000n + 320_000n + 320_000n);
  });

  it.each([
    // Half of what is free, over the requests in flight and this one, at 5,600 nano-USD a token.
    [112_000_000, 0, 1, 10_000],
    [112_000_000, 1, 1, 5_000],
    [112_000_000, 0, 2, 5_000],
    [112_000_000, 9, 1, 4_096],
    [0, 0, 1, 4_096],
  ])('limits a request without a limit by what %d free with %d in flight buy for %d choices', (free, inFlight, choices, limit) => {
    const bound = of({ choices }, roomOf(free, inFlight));
    expect(bound).toMatchObject({ maxOutputTokens: limit, addedLimit: limit, demand: { outputTokens: limit * choices } });
    expect(bound.maxCostNano).toBe(maxCost(bound.demand, 4_000));
  });

  it('adds no limit where the model keeps its own', () => {
    expect(of({}, roomOf(1e12))).toMatchObject({ maxOutputTokens: 32_000, addedLimit: undefined });
    const small = { listPrice: PRICE, candidates: [{ model: { contextTokens: 8_000, maxOutputTokens: 4_000 }, listPrice: PRICE }] };
    expect(of({}, NOBODY_ASKS, small)).toMatchObject({ maxOutputTokens: 4_000, addedLimit: undefined });
    const contextOnly = {
      listPrice: PRICE,
      candidates: [{ model: { contextTokens: 9_000, maxOutputTokens: undefined }, listPrice: PRICE }],
    };
    expect(of({}, roomOf(1e12), contextOnly)).toMatchObject({ maxOutputTokens: 9_000, addedLimit: undefined });
  });

  it('reserves the model’s own limit where none may be added', () => {
    expect(of({ takesOutputLimit: false })).toMatchObject({ maxOutputTokens: 32_000, addedLimit: undefined });
  });

  it('takes the dearest of the planned ways, and the longest', () => {
    const ways: Ways = {
      listPrice: PRICE,
      candidates: [
        { model: MODEL, listPrice: PRICE },
        { model: { contextTokens: 400_000, maxOutputTokens: 64_000 }, listPrice: DEARER },
      ],
    };
    expect(of({ maxOutputTokens: 100 }, NOBODY_ASKS, ways).maxCostNano).toBe(2n * 1_960_000n);
    expect(of({}, roomOf(1e12), ways).maxOutputTokens).toBe(64_000);
    expect(of({ readsBeyondBody: true, maxOutputTokens: 1 }, NOBODY_ASKS, ways).demand.inputTokens).toBe(401_000);
  });

  it('takes the context for what is not in the body, the largest usual one where the model’s is not known', () => {
    expect(of({ readsBeyondBody: true, maxOutputTokens: 1 }).demand.inputTokens).toBe(201_000);
    const unknown = { listPrice: PRICE, candidates: [{ model: { contextTokens: undefined, maxOutputTokens: 9 }, listPrice: PRICE }] };
    expect(of({ readsBeyondBody: true }, NOBODY_ASKS, unknown).demand.inputTokens).toBeGreaterThan(2_000_000);
  });

  it('has no output for embeddings', () => {
    expect(of({ operation: 'embeddings', takesOutputLimit: false, inputTokensBound: 1_000 })).toMatchObject({
      maxOutputTokens: 0,
      maxCostNano: 1_400_000n,
    });
  });

  it('takes the dearer of the tier that is asked for and standard', () => {
    expect(of({ maxOutputTokens: 100, serviceTier: 'priority' }).maxCostNano).toBe(2_940_000n);
    expect(of({ maxOutputTokens: 100, serviceTier: 'flex' }).maxCostNano).toBe(1_960_000n);
  });

  it('is refused where the cost has no bound and the client gave none', () => {
    expect(() => of({ unbounded: 'web_search_options', readsBeyondBody: true })).toThrowError(
      expect.objectContaining({
        status: 400,
        code: 'invalid_request_error',
        param: 'web_search_options',
        message: expect.stringMatching(/'web_search_options'.*output limit/),
      }),
    );
    expect(of({ unbounded: 'web_search_options', readsBeyondBody: true, maxOutputTokens: 5 }).demand.outputTokens).toBe(5);
  });
});

describe('the limit that would fit', () => {
  it('fits, and one token more for each choice would not', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.integer({ min: 1, max: 8 }),
        fc.bigInt({ min: 0n, max: 10n ** 10n }),
        (limit, choices, left) => {
          const fits = fittingLimit(of({ maxOutputTokens: limit, choices }), left);
          const costOf = (maxOutputTokens: number): bigint => of({ maxOutputTokens, choices }).maxCostNano;
          if (fits > 0) expect(costOf(fits)).toBeLessThanOrEqual(left);
          expect(costOf(fits + 1)).toBeGreaterThan(left - 1n);
        },
      ),
    );
  });
});
