import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LOSSES, lossHeader, StreamLosses } from './loss.ts';

const PAGE = join(import.meta.dirname, '../../LOSSES.md');
const NAMES = {
  'openai-chat': 'Chat',
  'openai-responses': 'Responses',
  'anthropic-messages': 'Messages',
  gemini: 'Gemini',
} as const;

/** The page for users, of which the table is a part. */
function pageOf(before: string): string {
  const rows = Object.entries(LOSSES).map(([name, { what, to }]) => {
    const lostTo = new Set<string>(to);
    const marks = Object.keys(NAMES).map((dialect) => (lostTo.has(dialect) ? '×' : ' '));
    return `| \`${name}\` | ${what} | ${marks.join(' | ')} |`;
  });
  const head = [`| name | what is lost | ${Object.values(NAMES).join(' | ')} |`, `|---|---|${'---|'.repeat(Object.keys(NAMES).length)}`];
  const prose = before.slice(0, before.indexOf('| name |'));
  return `${prose}${[...head, ...rows].join('\n')}\n`;
}

describe('the page of losses', () => {
  it('has the rows of the table (MERIDIAN_WRITE_LOSSES=1 writes them)', () => {
    const page = readFileSync(PAGE, 'utf8');
    if (process.env.MERIDIAN_WRITE_LOSSES === '1') writeFileSync(PAGE, pageOf(page));
    else expect(page).toBe(pageOf(page));
  });
});

describe('the header', () => {
  it('names each loss once, with its place where that is told', () => {
    expect(lossHeader([])).toBeUndefined();
    expect(lossHeader([{ name: 'top_k' }, { name: 'unknown_field', at: 'store' }, { name: 'top_k' }])).toBe('top_k, unknown_field(store)');
  });

  it('is cut where it would be long, and says by how many', () => {
    const many = Array.from({ length: 100 }, (_, index) => ({ name: 'unknown_field', at: `messages[${index}].field` }) as const);
    const header = lossHeader(many) ?? '';
    expect(header.length).toBeLessThan(1_010);
    const [, left] = /, \+(\d+)$/.exec(header) ?? [];
    expect(header.split(', ').length - 1 + Number(left)).toBe(100);
  });
});

describe('the losses of a stream', () => {
  it('are told each once, by the name that the dialect has for them, and nothing where there are none', () => {
    const losses = new StreamLosses();
    expect(losses.member('meridian_loss')).toEqual({});
    losses.add({ name: 'media_output', at: 'image' });
    losses.add({ name: 'citations' });
    losses.add({ name: 'media_output', at: 'image' });
    expect(losses.member('meridianLoss')).toEqual({ meridianLoss: ['media_output(image)', 'citations'] });
  });

  it('are new until they are told', () => {
    const losses = new StreamLosses();
    expect(losses.newMember('m')).toEqual({});
    losses.add({ name: 'citations' });
    expect(losses.newMember('m')).toEqual({ m: ['citations'] });
    expect(losses.newMember('m')).toEqual({});
    expect(losses.member('m')).toEqual({ m: ['citations'] });
  });

  it('are 64 at most, whatever an upstream sends', () => {
    const losses = new StreamLosses();
    for (let index = 0; index < 1_000; index++) losses.add({ name: 'unknown_part', at: `kind_${index}` });
    expect(losses.member('m').m).toHaveLength(64);
  });
});
