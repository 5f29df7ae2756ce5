/** No hard case is forgotten: each is in the table, in a test that is there, or left out for a reason. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { HARD_CASES, type HardCase, type NamedTest } from './hard-cases.ts';

const ROOT = join(import.meta.dirname, '../..');
const COUNT = 121;
const CASES: readonly (readonly [string, HardCase])[] = Object.entries(HARD_CASES);

/** The numbers of the rows of the table. */
function tabledNumbers(): ReadonlySet<string> {
  const page = readFileSync(join(import.meta.dirname, 'RESULT.md'), 'utf8');
  return new Set([...page.matchAll(/^\| (\d+) /gm)].map(([, number = '']) => number));
}

const texts = new Map<string, string>();

function textOf(file: string): string {
  const known = texts.get(file);
  if (known !== undefined) return known;
  const path = join(ROOT, file);
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  texts.set(file, text);
  return text;
}

/** The first argument of a call whose second is a function, or options before one: a test that runs. Placeholders are as they stand there. */
function hasTest({ file, title }: NamedTest): boolean {
  const quoted = title.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  const call = new RegExp(String.raw`(.*)\(\s*(['"\x60])${quoted}\2,\s*(?:\{[^}]*\},\s*)?(?:async\s*)?\(`, 'g');
  return [...textOf(file).matchAll(call)].some(([, before = '']) => !/\b(describe|skip|todo)\b/.test(before));
}

describe('the hard cases of translation', () => {
  it('are all there', () => {
    expect(CASES.map(([number]) => number)).toEqual(Array.from({ length: COUNT }, (_, index) => String(index + 1)));
    expect(new Set(CASES.map(([, { what }]) => what)).size).toBe(COUNT);
  });

  it('are each shown somewhere, or left out for a reason', () => {
    for (const [number, { inTable, tests = [], leftOut = '' }] of CASES) {
      const isShown = inTable === true || tests.length > 0;
      expect(isShown ? leftOut === '' : leftOut.length > 20, number).toBe(true);
    }
  });

  it('have rows in the table where they are said to have some', () => {
    const numbers = tabledNumbers();
    const missing = CASES.filter(([number, { inTable }]) => inTable === true && !numbers.has(number));
    expect(missing.map(([number]) => number)).toEqual([]);
  });

  it('have the tests that are named', () => {
    const missing = CASES.flatMap(([number, { tests = [] }]) =>
      tests.filter((test) => !hasTest(test)).map(({ file, title }) => `${number}: ${file}: ${title}`),
    );
    expect(missing).toEqual([]);
  });

  it('find no test that is skipped, a group, or only spoken of', () => {
    const file = 'an example';
    texts.set(file, "describe('a group', () => {});\nit.skip('later', () => {});\n// it('once')\nit('now', async () => {});\n");
    const found = ['a group', 'later', 'once', 'now'].filter((title) => hasTest({ file, title }));
    expect(found).toEqual(['now']);
  });
});
