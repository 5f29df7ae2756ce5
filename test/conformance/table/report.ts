/** The table as a page: what each case comes to between each pair of dialects. */
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import type { Row } from './row.ts';

const RECORDED_HEADING = '## Recorded exchanges';

const SHORT: Readonly<Record<DialectName, string>> = {
  'openai-chat': 'C',
  'openai-responses': 'R',
  'anthropic-messages': 'A',
  gemini: 'G',
};

/** The chapters of the hard cases, by the first number of each. */
const CHAPTERS: readonly (readonly [number, string])[] = [
  [1, 'Tool calls, streaming and identity'],
  [22, 'Tool results and history'],
  [39, 'Reasoning'],
  [55, 'Parameters'],
  [68, 'Finish, usage, citations'],
  [83, 'Framing and lifecycle of streams'],
  [100, 'Errors, ids, headers'],
];

const PAIRS = DIALECT_NAMES.flatMap((client) => DIALECT_NAMES.map((upstream) => [client, upstream] as const));

export interface Counts {
  readonly passed: number;
  readonly lost: number;
  readonly refused: number;
  readonly unexplained: number;
}

export function countRows(rows: readonly Row[]): Counts {
  const unexplained = rows.filter(({ complaints }) => complaints.length > 0);
  const explained = rows.filter(({ complaints }) => complaints.length === 0);
  const refused = explained.filter(({ result }) => /^\d/.test(result)).length;
  const passed = explained.filter(({ result }) => result === 'pass' || result === 'error').length;
  return { passed, lost: explained.length - refused - passed, refused, unexplained: unexplained.length };
}

/** The page's part on the cases of our own: the same for the same code, on every machine. */
export function ownPart(rows: readonly Row[]): string {
  const lines = [
    '# Any client, any model: what comes through',
    '',
    'Written by `npm run conformance`. Each case goes from a client of each dialect to an upstream of each and back: C is OpenAI’s chat',
    'completions, R its Responses, A Anthropic’s messages, G Gemini; `A>C` is a client that speaks A and an upstream that speaks C. Where both',
    'are the same the bytes go through, and the words are tried as well.',
    '',
    '✓ all of it comes through · a word is the name of what is lost, as the client reads it in `x-meridian-loss` · a number is the status with',
    'which it is refused before anything is sent · ✗ nothing explains the difference · blank: the client’s dialect cannot say it, or the',
    'upstream’s cannot answer so.',
    '',
    `${summary(rows)}`,
  ];
  for (const [index, [from, title]] of CHAPTERS.entries()) {
    const to = CHAPTERS[index + 1]?.[0] ?? Number.POSITIVE_INFINITY;
    const chapter = rows.filter(({ number }) => number >= from && number < to);
    if (chapter.length === 0) continue;
    lines.push('', `## ${title}`, '', `| case | ${PAIRS.map(([c, u]) => `${SHORT[c]}>${SHORT[u]}`).join(' | ')} |`);
    lines.push(`| --- |${PAIRS.map(() => ' --- |').join('')}`);
    for (const [name, cells] of byCase(chapter))
      lines.push(`| ${name} | ${PAIRS.map(([c, u]) => cells.get(`${c}>${u}`) ?? '').join(' | ')} |`);
  }
  return `${lines.join('\n')}\n`;
}

function byCase(rows: readonly Row[]): [string, Map<string, string>][] {
  const sorted = [...rows].sort((a, b) => a.number - b.number);
  const cases = new Map<string, Map<string, Row[]>>();
  for (const row of sorted) {
    const name = `${row.number} ${row.kind}: ${row.what}`;
    const cells = cases.get(name) ?? new Map<string, Row[]>();
    cases.set(name, cells);
    const pair = `${row.client}>${row.upstream}`;
    cells.set(pair, [...(cells.get(pair) ?? []), row]);
  }
  return [...cases].map(([name, cells]) => [name, new Map([...cells].map(([pair, list]) => [pair, cellOf(list)]))]);
}

function cellOf(rows: readonly Row[]): string {
  if (rows.some(({ complaints }) => complaints.length > 0)) return '✗';
  const results = new Set(rows.map(({ result }) => (result === 'pass' || result === 'error' ? '✓' : result.replaceAll('_', '\\_'))));
  if (results.size > 1) results.delete('✓');
  return [...results].join(', ');
}

function summary(rows: readonly Row[]): string {
  const { passed, lost, refused, unexplained } = countRows(rows);
  return `${rows.length} exchanges: ${passed} pass, ${lost} with a named loss, ${refused} refused by name, ${unexplained} unexplained.`;
}

/** The page's part on recordings, which are not on every machine. */
export function recordedPart(rows: readonly Row[]): string {
  if (rows.length === 0) return '';
  const lines = ['', RECORDED_HEADING, '', summary(rows), '', '| what | pair | pass | loss | refused | unexplained | losses |'];
  lines.push('| --- | --- | --- | --- | --- | --- | --- |');
  const kinds = [...new Set(rows.map(({ kind }) => kind))];
  for (const kind of kinds) {
    for (const [client, upstream] of PAIRS) {
      const own = rows.filter((row) => row.kind === kind && row.client === client && row.upstream === upstream);
      if (own.length === 0) continue;
      const { passed, lost, refused, unexplained } = countRows(own);
      const named = own.flatMap(({ result }) => (/^(pass|error|\d+)$/.test(result) ? [] : result.split(', ')));
      const losses = [...new Set(named)].sort().map((name) => name.replaceAll('_', '\\_'));
      lines.push(
        `| ${kind} | ${SHORT[client]}>${SHORT[upstream]} | ${passed} | ${lost} | ${refused} | ${unexplained} | ${losses.join(', ')} |`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

/** The recorded exchanges' part of a page written before: where there are none now, it still tells what was found in them. */
export function recordedPartOf(page: string): string {
  const at = page.indexOf(`\n${RECORDED_HEADING}\n`);
  return at === -1 ? '' : page.slice(at);
}

/** What nothing explains, one line each. */
export function complaintLines(rows: readonly Row[]): string[] {
  return rows.flatMap((row) =>
    row.complaints.map(
      (complaint) => `${SHORT[row.client]}>${SHORT[row.upstream]} ${row.via} ${row.kind} ${row.number} ${row.what}: ${complaint}`,
    ),
  );
}
