/** What is fed with broken input, and what must hold whatever it is fed with. */
import type { AnswerStream, Dialect } from '@meridian/data-plane/dialect/dialect';
import { dialectOf } from '@meridian/data-plane/dialect/registry';
import { translatedLane } from '@meridian/data-plane/dialect/translated-lane';
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { pick } from '../../random.ts';
import { mutatedBytes, mutatedJson, mutatedStream, type Random, recut } from './mutate.ts';
import type { RequestSeed, Seeds } from './seeds.ts';

export interface Target {
  readonly name: string;
  readonly dialect: DialectName;
  /** Feeds one input; throws what must not happen. Returns the input's size in bytes. */
  run(seeds: Seeds, random: Random): number;
}

const TERMS = { model: 'upstream-model', maxOutputTokens: undefined, modelMaxOutputTokens: 8_192, capabilities: ['tools', 'reasoning'] };
const LANE_TERMS = { requestId: 'req_0123456789abcdefghijkl', createdSeconds: 1_700_000_000 };
const COST = '0.0012345';
/** What comes out may be longer than what went in by what a translation writes around it, and no more. */
const MAX_GROWTH = 64;
const MAX_GROWTH_BYTES = 512 * 1024;

class Broken extends Error {}

/** Runs what may only fail with an error of ours, of one of the sources. */
function guarded<T>(what: string, sources: readonly GatewayError['source'][], run: () => T): T | undefined {
  try {
    return run();
  } catch (thrown) {
    if (!(thrown instanceof GatewayError)) throw new Broken(`${what} threw ${String(thrown)}`, { cause: thrown });
    if (!sources.includes(thrown.source)) throw new Broken(`${what} blames ${thrown.source}: ${thrown.message}`, { cause: thrown });
    if (thrown.source === 'client' && (thrown.status < 400 || thrown.status > 499))
      throw new Broken(`${what} refuses with ${thrown.status}`);
    return undefined;
  }
}

function sizeOf(parts: readonly Buffer[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function withinGrowth(what: string, inputBytes: number, outputBytes: number): void {
  if (outputBytes > inputBytes * MAX_GROWTH + MAX_GROWTH_BYTES) throw new Broken(`${what} made ${outputBytes} bytes of ${inputBytes}`);
}

/** Broken as a value half of the time, and as bytes else. */
function brokenJson(value: unknown, random: Random): Buffer {
  if (random() < 0.7) return Buffer.from(JSON.stringify(mutatedJson(value, random)) ?? 'null');
  return mutatedBytes(Buffer.from(JSON.stringify(value) ?? 'null'), random);
}

const PLAIN: Readonly<Record<DialectName, RequestSeed>> = {
  'openai-chat': { body: { model: 'm', messages: [{ role: 'user', content: 'Hi' }] }, place: {} },
  'openai-responses': { body: { model: 'm', input: 'Hi' }, place: {} },
  'anthropic-messages': { body: { model: 'm', max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }] }, place: {} },
  gemini: { body: { contents: [{ role: 'user', parts: [{ text: 'Hi' }] }] }, place: { model: 'm', stream: true } },
};

function plainRequest(client: Dialect) {
  const { body, place } = PLAIN[client.name];
  return client.decodeRequest(Buffer.from(JSON.stringify(body)), place);
}

/** A rendered error that its own dialect's clients read. */
function rendered(dialect: Dialect, error: GatewayError): void {
  const { body, status } = dialect.renderError(error, LANE_TERMS.requestId);
  const value = JSON.parse(body.toString('utf8')) as { readonly type?: unknown; readonly error?: Readonly<Record<string, unknown>> };
  const fields = value.error ?? {};
  const isOwn =
    dialect.name === 'anthropic-messages'
      ? value.type === 'error' && typeof fields.type === 'string'
      : dialect.name === 'gemini'
        ? fields.code === status && typeof fields.status === 'string'
        : typeof fields.type === 'string' && 'param' in fields;
  if (!isOwn || typeof fields.message !== 'string') throw new Broken(`${dialect.name} renders ${body.toString('utf8').slice(0, 300)}`);
}

function requestTarget(name: DialectName): Target {
  const client = dialectOf(name);
  return {
    name: `${name} requests`,
    dialect: name,
    run({ requests }, random) {
      const { body, place } = pick(requests, random());
      const bytes = brokenJson(body, random);
      try {
        const read = client.readPassThrough('chat', bytes, place);
        const { facts } = read;
        if (!(facts.inputTokensBound >= 0) || !(facts.choices >= 1))
          throw new Broken(`bounds of ${facts.inputTokensBound}, ${facts.choices}`);
        withinGrowth('a passing request', bytes.length, sizeOf(read.rewrite({ model: 'upstream-model', maxOutputTokens: 64 })));
        guarded('its text', ['client'], () => client.inputText('chat', bytes, facts.inputTokensBound));
        guarded('its longest message', ['client'], () => client.longestMessage?.(bytes));
      } catch (thrown) {
        if (!(thrown instanceof GatewayError) || thrown.source !== 'client') throw thrown;
        rendered(client, thrown);
      }
      const request = guarded('a request', ['client'], () => client.decodeRequest(bytes, place));
      if (request === undefined) return bytes.length;
      for (const upstream of DIALECT_NAMES) {
        const encoded = guarded(`for ${upstream}`, ['client'], () => dialectOf(upstream).encodeRequest(request, TERMS));
        if (encoded === undefined) continue;
        withinGrowth(`for ${upstream}`, bytes.length, sizeOf(encoded.body));
        JSON.parse(Buffer.concat([...encoded.body]).toString('utf8'));
      }
      return bytes.length;
    },
  };
}

function answerTarget(name: DialectName): Target {
  const upstream = dialectOf(name);
  return {
    name: `${name} answers`,
    dialect: name,
    run({ answers }, random) {
      const bytes = brokenJson(pick(answers, random()), random);
      // An error in a success's clothes may be the client's own fault.
      const blamed: GatewayError['source'][] = bytes.includes('"error"') ? ['upstream', 'client'] : ['upstream'];
      const passing = guarded('a passing answer', blamed, () => upstream.readAnswer('chat', bytes));
      if (passing !== undefined) {
        const written = guarded('its rewriting', ['upstream'], () => passing.rewrite({ model: 'shown', costUsdLiteral: COST }));
        if (written !== undefined) withinGrowth('a passing answer', bytes.length, sizeOf(written.body));
      }
      for (const client of DIALECT_NAMES) {
        const lane = translatedLane(dialectOf(client), upstream, plainRequest(dialectOf(client)), LANE_TERMS);
        const answer = guarded('an answer', blamed, () => lane.answer(bytes, { model: 'shown' }));
        if (answer === undefined) continue;
        const { body } = answer.rewrite({ model: 'shown', costUsdLiteral: COST });
        withinGrowth(`for ${client}`, bytes.length, sizeOf(body));
        JSON.parse(Buffer.concat([...body]).toString('utf8'));
      }
      return bytes.length;
    },
  };
}

/** Ids that are made for calls whose upstream gives none differ from stream to stream. */
const MINTED_IDS = /mrd_[\w-]+|call_[0-9a-f]{24}/g;

interface Streamed {
  readonly text: string;
  readonly state: string;
}

/** Feeds a stream to its end and past it. */
function streamed(stream: AnswerStream, pieces: readonly Buffer[]): Streamed {
  const out: Buffer[] = [];
  for (const piece of pieces) {
    stream.push(piece);
    out.push(...stream.take());
  }
  stream.close();
  out.push(...stream.take());
  const { end } = stream;
  if (end.state === 'running') throw new Broken('a stream that is closed still runs');
  if (end.state === 'broken' && !(end.error instanceof GatewayError)) throw new Broken('a stream broke with an error that is not ours');
  if (end.state === 'broken' && end.error.code === 'internal_error') throw new Broken(`a stream broke with ${String(end.error.cause)}`);
  // Facts are asked for whatever has happened.
  if (!(stream.facts.countedOutputTokens >= 0)) throw new Broken('a stream without a count');
  if (end.state === 'finished') out.push(...stream.terminal(COST));
  else out.push(...(stream.failure?.(end.error) ?? []));
  stream.push(Buffer.from('data: {}\n\n'));
  if (stream.take().length > 0) throw new Broken('a stream that has ended gives more');
  return { text: Buffer.concat(out).toString('utf8').replace(MINTED_IDS, 'an id'), state: end.state };
}

function streamTarget(name: DialectName): Target {
  const upstream = dialectOf(name);
  return {
    name: `${name} streams`,
    dialect: name,
    run({ streams }, random) {
      const bytes = mutatedStream(pick(streams, random()), random);
      const pieces = recut(bytes, random);
      const ways = [
        () => upstream.passThroughStream({ wantsStreamUsage: true, model: 'shown' }),
        ...DIALECT_NAMES.map((client) => () => {
          const lane = translatedLane(dialectOf(client), upstream, plainRequest(dialectOf(client)), LANE_TERMS);
          return lane.stream({ wantsStreamUsage: true, model: 'shown' });
        }),
      ];
      const way = pick(ways, random());
      const whole = streamed(way(), [bytes]);
      const cut = streamed(way(), pieces);
      withinGrowth('a stream', bytes.length, whole.text.length);
      if (whole.state !== cut.state || (whole.state === 'finished' && whole.text !== cut.text)) {
        throw new Broken(`the cuts change a stream from ${whole.state} to ${cut.state}: ${difference(whole.text, cut.text)}`);
      }
      return bytes.length;
    },
  };
}

function errorTarget(name: DialectName): Target {
  const upstream = dialectOf(name);
  return {
    name: `${name} errors`,
    dialect: name,
    run({ errors }, random) {
      const bytes = mutatedBytes(pick(errors, random()), random);
      const status = pick([400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 529, 200, 302], random());
      const error = upstream.readUpstreamError(status, { 'retry-after': pick(['1', '-1', 'soon', '1e9', ''], random()) }, bytes);
      if (!(error instanceof GatewayError)) throw new Broken('an error that is not ours');
      for (const client of DIALECT_NAMES) rendered(dialectOf(client), error);
      return bytes.length;
    },
  };
}

function countingTarget(name: DialectName): Target | undefined {
  const client = dialectOf(name);
  const { counting } = client;
  if (counting === undefined) return undefined;
  return {
    name: `${name} counting`,
    dialect: name,
    run({ requests }, random) {
      const { body, place } = pick(requests, random());
      const bytes = brokenJson(body, random);
      const read = guarded('a count', ['client'], () => counting.read(bytes, place));
      if (read !== undefined)
        withinGrowth('a count', bytes.length, sizeOf(read.rewrite({ model: 'upstream-model', maxOutputTokens: undefined })));
      return bytes.length;
    },
  };
}

const EMBEDDINGS: readonly RequestSeed[] = [
  { body: { model: 'e', input: 'Hi' }, place: {} },
  { body: { model: 'e', input: ['a', 'b'], dimensions: 3, encoding_format: 'base64', user: 'u' }, place: {} },
  { body: { model: 'e', input: [[1, 2], [3]] }, place: {} },
  {
    body: { content: { parts: [{ text: 'Hi' }] }, taskType: 'RETRIEVAL_QUERY', outputDimensionality: 3 },
    place: { model: 'e', form: 'embedContent' },
  },
  {
    body: {
      requests: [
        { model: 'models/e', content: { parts: [{ text: 'a' }] } },
        { model: 'models/e', content: { parts: [{ text: 'b' }] } },
      ],
    },
    place: { model: 'e', form: 'batchEmbedContents' },
  },
];
const VECTORS: readonly unknown[] = [
  {
    object: 'list',
    data: [{ object: 'embedding', index: 0, embedding: [0.1, 0.2] }],
    model: 'e',
    usage: { prompt_tokens: 1, total_tokens: 1 },
  },
  { object: 'list', data: [{ object: 'embedding', index: 0, embedding: 'AAAAAAAAgD8=' }], model: 'e' },
  { embedding: { values: [0.1, 0.2] } },
  { embeddings: [{ values: [0.1] }, { values: [0.2] }] },
];

function embeddingsTarget(name: DialectName): Target | undefined {
  const { embeddings: codec } = dialectOf(name);
  if (codec === undefined) return undefined;
  return {
    name: `${name} embeddings`,
    dialect: name,
    run(_, random) {
      const { body, place } = pick(EMBEDDINGS, random());
      const bytes = brokenJson(body, random);
      const request = guarded('embeddings', ['client'], () => codec.decodeRequest(bytes, place));
      const vectors = brokenJson(pick(VECTORS, random()), random);
      if (request === undefined) return bytes.length;
      for (const other of DIALECT_NAMES) {
        const upstream = dialectOf(other).embeddings;
        if (upstream === undefined) continue;
        guarded(`for ${other}`, ['client'], () => upstream.encodeRequest(request, TERMS));
        const response = guarded(`from ${other}`, ['upstream'], () => upstream.decodeResponse(vectors, request));
        if (response !== undefined) codec.encodeResponse(response, { model: 'shown', costUsdLiteral: COST, request });
      }
      return bytes.length;
    },
  };
}

export const TARGETS: readonly Target[] = DIALECT_NAMES.flatMap((name) =>
  [requestTarget(name), answerTarget(name), streamTarget(name), errorTarget(name), countingTarget(name), embeddingsTarget(name)].filter(
    (target) => target !== undefined,
  ),
);

/** Where two texts part. */
function difference(one: string, other: string): string {
  let at = 0;
  while (at < one.length && one[at] === other[at]) at++;
  return `${JSON.stringify(one.slice(Math.max(0, at - 200), at + 200))} or ${JSON.stringify(other.slice(Math.max(0, at - 200), at + 200))}`;
}
