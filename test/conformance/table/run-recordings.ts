/** Every recorded exchange through all pairs of dialects: the answers to clients of each, the requests to upstreams of each. */
import type { Dialect, EncodeRequestTerms } from '@meridian/data-plane/dialect/dialect';
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import { compareAnswers, type Difference } from './compare-answers.ts';
import { dialectNamed } from './dialects.ts';
import { type Carried, type ClientRequest, carryAnswer, carryRequest, carryStream, cut, isRefused, type Via } from './exchange.ts';
import { readAnswer } from './reading.ts';
import { type Recording, recordings } from './recordings.ts';

const TERMS: EncodeRequestTerms = {
  model: 'upstream-model',
  maxOutputTokens: undefined,
  modelMaxOutputTokens: 32_000,
  capabilities: ['tools', 'vision', 'json_schema', 'reasoning', 'audio_input', 'pdf_input'],
};

export interface Row {
  readonly what: string;
  readonly client: DialectName;
  readonly upstream: DialectName;
  readonly via: Via;
  readonly losses: readonly string[];
  readonly differences: readonly Difference[];
}

/** The plainest request of each dialect, which asks for all that an answer can hold. */
function plainRequest(dialect: DialectName, isStream: boolean): ClientRequest {
  const text = 'Hello';
  switch (dialect) {
    case 'openai-chat':
      return {
        body: {
          model: 'm',
          messages: [{ role: 'user', content: text }],
          ...(isStream ? { stream: true, stream_options: { include_usage: true } } : {}),
        },
        place: {},
      };
    case 'openai-responses':
      return { body: { model: 'm', input: text, include: ['reasoning.encrypted_content'], store: false, stream: isStream }, place: {} };
    case 'anthropic-messages':
      return { body: { model: 'm', max_tokens: 1_000, messages: [{ role: 'user', content: text }], stream: isStream }, place: {} };
    case 'gemini':
      return { body: { contents: [{ role: 'user', parts: [{ text }] }] }, place: { model: 'm', stream: isStream } };
    default:
      return dialect satisfies never;
  }
}

export function runRecordedAnswers(): Row[] {
  const rows: Row[] = [];
  for (const recording of recordings()) {
    const upstream = dialectNamed(recording.dialect);
    if (upstream === undefined || recording.status >= 400) continue;
    for (const name of DIALECT_NAMES) {
      const client = dialectNamed(name);
      if (client === undefined) continue;
      if (client === upstream) rows.push(runAnswer(recording, client, upstream, 'bytes'));
      rows.push(runAnswer(recording, client, upstream, 'words'));
    }
  }
  return rows;
}

function runAnswer(recording: Recording, client: Dialect, upstream: Dialect, via: Via): Row {
  const { name, answer, isStream } = recording;
  const row = { what: `answer ${name}`, client: client.name, upstream: upstream.name, via };
  const asked = carryRequest(client, upstream, plainRequest(client.name, isStream), TERMS, via);
  if ('error' in asked) return { ...row, losses: [], differences: [{ of: 'request', what: asked.error.message }] };
  const told = readAnswer(upstream.name, answer, isStream, true);
  const extra: Difference[] = [];
  let carried: Carried;
  if (isStream) {
    carried = carryStream(client, asked.lane, [answer], asked.wantsUsage);
    const recut = carryStream(client, asked.lane, cut(answer, answer.length > 50_000 ? 7 : 1), asked.wantsUsage);
    if (!recut.bytes.equals(carried.bytes)) extra.push({ of: 'framing', what: 'other cuts of the same bytes give another stream' });
  } else {
    const outcome = carryAnswer(asked.lane, answer);
    if (isRefused(outcome)) {
      const isExpected = told.error !== undefined;
      return {
        ...row,
        losses: [],
        differences: isExpected ? [] : [{ of: 'error', what: `${outcome.error.message} ${String(outcome.error.cause)}` }],
      };
    }
    carried = outcome;
  }
  const got = readAnswer(client.name, carried.bytes, isStream, asked.wantsUsage);
  const tellsUsage = client.name !== 'openai-chat' || !isStream || asked.wantsUsage;
  const differences = compareAnswers(told, got, { client: client.name, upstream: upstream.name, via, isStream, tellsUsage });
  return { ...row, losses: carried.losses.map((loss) => loss.name), differences: [...extra, ...differences] };
}
