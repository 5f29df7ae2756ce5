/** `npm run catalog -- import <file>`: shows what a published price list would change in the catalogue, and applies it when told to. */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

const HELP = `Usage: npm run catalog -- import <file> [options]

  --format <name>          litellm or models-dev (default litellm)
  --provider <name>        only this provider of the list; may be repeated
  --model <name>           only this model; may be repeated
  --existing               only models that the catalogue has
  --endpoint <from>=<id>   make endpoints at our provider <id> for the list's provider <from>; may be repeated
  --apply                  do it; without it nothing is changed
  --confirm                also where a price lies under the cost of an endpoint, or a new cost above a price
  --json                   print the answer as it came
  --help

The control plane is at MERIDIAN_CONTROL_URL (default http://127.0.0.1:8100); MERIDIAN_ADMIN_TOKEN is its operator's token.
`;

const MAX_SHOWN = 40;
/** A whole list is thousands of models in transactions of a hundred. */
const ANSWER_WITHIN_MS = 600_000;

interface Answer {
  readonly counts: Readonly<Record<string, number>>;
  readonly changes: readonly {
    readonly model_id: string;
    readonly action: string;
    readonly prices: readonly {
      readonly service_tier: string;
      readonly above_input_tokens: number;
      readonly component: string;
      readonly was: string | null;
      readonly becomes: string | null;
    }[];
    readonly not_sold: readonly string[];
    readonly notes: readonly string[];
    readonly needs_confirm: string | null;
  }[];
  readonly refused: readonly { readonly listed_as: string; readonly listed_provider: string; readonly reason: string }[];
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      format: { type: 'string', default: 'litellm' },
      provider: { type: 'string', multiple: true, default: [] },
      model: { type: 'string', multiple: true, default: [] },
      existing: { type: 'boolean', default: false },
      endpoint: { type: 'string', multiple: true, default: [] },
      apply: { type: 'boolean', default: false },
      confirm: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const [command, file] = positionals;
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  if (command !== 'import' || file === undefined || positionals.length > 2) return fail(`say what to import\n\n${HELP}`);
  const token = process.env.MERIDIAN_ADMIN_TOKEN;
  if (token === undefined || token === '') return fail('MERIDIAN_ADMIN_TOKEN is not set');
  const pairs = values.endpoint.map((pair) => pair.split('='));
  if (pairs.some((pair) => pair.length !== 2 || pair.includes(''))) return fail('--endpoint is <provider of the list>=<id of ours>');
  let list: unknown;
  try {
    list = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    return fail(`${file} cannot be read: ${messageOf(error)}`);
  }
  const body = {
    format: values.format,
    list,
    providers: values.provider,
    models: values.model,
    existing_only: values.existing,
    endpoints: Object.fromEntries(pairs),
    apply: values.apply,
    confirm: values.confirm,
  };
  const url = new URL('/admin/v1/catalog/import', process.env.MERIDIAN_CONTROL_URL ?? 'http://127.0.0.1:8100');
  let response: Response;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
  } catch (error) {
    return fail(`${url.origin} cannot be reached: ${messageOf(error)}`);
  }
  const text = await response.text();
  if (!response.ok) return fail(`${response.status}: ${text.slice(0, 2_000)}`);
  if (values.json) console.log(text);
  else console.log(summary(JSON.parse(text) as Answer, values.apply));
  return 0;
}

function summary({ counts, changes, refused }: Answer, applied: boolean): string {
  const lines: string[] = [];
  for (const { model_id: modelId, action, prices, not_sold: notSold, notes, needs_confirm: needsConfirm } of changes.slice(0, MAX_SHOWN)) {
    lines.push(`${action.padEnd(8)} ${modelId}${notSold.length === 0 ? '' : `  (not sold: ${notSold.join(', ')})`}`);
    if (needsConfirm !== null) lines.push(`           needs --confirm: ${needsConfirm}`);
    for (const note of notes) lines.push(`           ${note}`);
    for (const price of prices) {
      const place = `${price.service_tier}${price.above_input_tokens === 0 ? '' : ` above ${price.above_input_tokens}`} ${price.component}`;
      lines.push(`           ${place}: ${price.was ?? '–'} → ${price.becomes ?? '–'}`);
    }
  }
  if (changes.length > MAX_SHOWN) lines.push(`… and ${changes.length - MAX_SHOWN} more (--json shows all)`);
  const reasons = new Map<string, string[]>();
  for (const { listed_as: listedAs, reason } of refused) reasons.set(reason, [...(reasons.get(reason) ?? []), listedAs]);
  if (refused.length > 0) lines.push('', 'refused:');
  for (const [reason, names] of [...reasons].sort((a, b) => b[1].length - a[1].length).slice(0, MAX_SHOWN)) {
    lines.push(`  ${String(names.length).padStart(5)} × ${reason}, such as ${names.slice(0, 3).join(', ')}`);
  }
  const totals = Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  lines.push('', `${applied ? 'done' : 'would be'}: ${totals.join(', ')}`);
  if (!applied) lines.push('nothing was changed; --apply does it');
  return lines.join('\n');
}

function fail(message: string): number {
  console.error(`catalog: ${message}`);
  return 1;
}

function messageOf(error: unknown): string {
  return error instanceof Error
    ? error.cause instanceof Error
      ? `${error.message}: ${error.cause.message}`
      : error.message
    : String(error);
}

process.exitCode = await main().catch((error: unknown) => fail(messageOf(error)));
