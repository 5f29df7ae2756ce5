/**
 * Everything that our encoders write, held against the providers' own descriptions: answers and events of streams for clients, requests for
 * upstreams. What passes through may have no fault that it did not come with.
 */
import { dialectOf } from '@meridian/data-plane/dialect/registry';
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import { describe, expect, it } from 'vitest';
import { isJson, objectAt, objectsAt, parsed } from '../table/json.ts';
import { hasRecordings, recordings } from '../table/recordings.ts';
import { type CarriedAnswer, carriedOwnAnswers, carriedRecordedAnswers } from '../table/run-answers.ts';
import { type CarriedRequest, carriedOwnRequests, carriedRecordedRequests } from '../table/run-requests.ts';
import { readSse } from '../table/sse-reading.ts';
import { KNOWN_OF_ANSWERS, KNOWN_OF_REQUESTS, UNDESCRIBED_ITEMS } from './exceptions.ts';
import { hasSchemas, type Kind, ProviderSchemas } from './provider-schemas.ts';

if (!hasSchemas) console.log('the providers’ schemas: skipped, ../shared/specs is not there');
if (!hasRecordings) console.log('recorded exchanges: skipped, ../shared/fixtures is not there');

/** The values of an answer: its body, or its events without the marks that end it. */
function valuesOf(bytes: Buffer, isStream: boolean): (readonly [Kind, unknown])[] {
  if (!isStream) return [['answer', JSON.parse(bytes.toString('utf8'))]];
  const text = bytes.toString('utf8').trim();
  const list = text.startsWith('[') ? parsed(text) : undefined;
  if (Array.isArray(list)) return list.map((value) => ['event', value]);
  const { events } = readSse(bytes);
  return events.filter(({ data }) => data !== '[DONE]').map(({ data }) => ['event', parsed(data)]);
}

/** Keep-alives and errors are no part of an answer; what a dialect leaves to each provider is not described. */
function isDescribed(dialect: DialectName, value: unknown): boolean {
  if (!isJson(value) || value.type === 'keepalive') return false;
  if (dialect !== 'openai-responses') return value.error === undefined && value.type !== 'error';
  const items = [value.item, ...objectsAt(value, 'output'), ...objectsAt(objectAt(value, 'response'), 'output')];
  const isForeign = /^response\.(custom_tool_call|image_generation_call)/.test(String(value.type));
  return !isForeign && !items.some((item) => isJson(item) && UNDESCRIBED_ITEMS.has(item.type));
}

function problemsOf(schemas: ProviderSchemas, dialect: DialectName, bytes: Buffer, isStream: boolean): string[] {
  return valuesOf(bytes, isStream).flatMap(([kind, value]) => {
    if (!isDescribed(dialect, value)) return [];
    const problem = schemas.problem(kind, value);
    return problem === undefined || KNOWN_OF_ANSWERS.some((known) => known.test(problem)) ? [] : [problem];
  });
}

describe.skipIf(!hasSchemas)('by the providers’ schemas', () => {
  const ownAnswers = hasSchemas ? carriedOwnAnswers() : [];
  const recordedAnswers = hasSchemas ? carriedRecordedAnswers() : [];
  const ownRequests = hasSchemas ? carriedOwnRequests() : [];
  const recordedRequests = hasSchemas ? carriedRecordedRequests() : [];

  const wrongAnswers = (answers: readonly CarriedAnswer[], client: DialectName): string[] => {
    const schemas = new ProviderSchemas(client, 'answers', true);
    // What comes back to its own dialect has fields of its provider's, which no schema describes.
    const written = answers.filter(
      ({ client: { name }, upstream, judged }) => name === client && upstream.name !== client && judged.got !== undefined,
    );
    return written.flatMap(({ what, kind, upstream, judged }) =>
      problemsOf(schemas, client, judged.bytes, kind.endsWith('stream')).map((problem) => `${upstream.name}, ${what}: ${problem}`),
    );
  };

  it.each(DIALECT_NAMES)('answers to clients of %s', (client) => {
    expect(ownAnswers.filter((answer) => answer.client.name === client).length).toBeGreaterThan(90);
    expect(wrongAnswers(ownAnswers, client)).toEqual([]);
  });

  it.skipIf(!hasRecordings).each(DIALECT_NAMES)('recorded answers to clients of %s', (client) => {
    expect(wrongAnswers(recordedAnswers, client)).toEqual([]);
  });

  it.each(DIALECT_NAMES)('what passes through between two ends of %s', (dialect) => {
    const schemas = new ProviderSchemas(dialect, 'answers', false);
    const passed = [...ownAnswers, ...recordedAnswers].filter(({ client, via, judged }) => {
      return client === dialectOf(dialect) && via === 'bytes' && judged.got !== undefined;
    });
    expect(passed.length).toBeGreaterThan(15);
    const wrong = passed.flatMap(({ what, kind, judged }) => {
      const isStream = kind.endsWith('stream');
      const before = new Set(problemsOf(schemas, dialect, judged.answer, isStream).map(withoutValue));
      const after = problemsOf(schemas, dialect, judged.bytes, isStream);
      return after.filter((problem) => !before.has(withoutValue(problem))).map((problem) => `${what}: ${problem}`);
    });
    expect(wrong).toEqual([]);
  });

  const wrongRequests = (requests: readonly CarriedRequest[], upstream: DialectName): string[] => {
    const schemas = new ProviderSchemas(upstream, 'requests', true);
    return requests
      .filter((request) => request.upstream === upstream && request.client !== upstream && request.judged.refusal === undefined)
      .flatMap(({ client, what, judged }) => {
        const problem = schemas.problem('request', judged.body);
        return problem === undefined || KNOWN_OF_REQUESTS.some((known) => known.test(problem)) ? [] : [`${client}, ${what}: ${problem}`];
      });
  };

  it.each(DIALECT_NAMES)('requests to upstreams of %s', (upstream) => {
    expect(ownRequests.filter((request) => request.upstream === upstream).length).toBeGreaterThan(100);
    expect(wrongRequests(ownRequests, upstream)).toEqual([]);
  });

  it.skipIf(!hasRecordings).each(DIALECT_NAMES)('recorded requests to upstreams of %s', (upstream) => {
    expect(wrongRequests(recordedRequests, upstream)).toEqual([]);
  });

  it.skipIf(!hasRecordings)('the descriptions fit what the providers wrote, but for what is known', () => {
    const counts = DIALECT_NAMES.map((dialect) => {
      const schemas = new ProviderSchemas(dialect, 'answers', false);
      const own = recordings().filter((recording) => recording.dialect === dialect && recording.status < 400);
      const values = own.flatMap(({ answer, isStream }) => valuesOf(answer, isStream)).filter(([, value]) => isDescribed(dialect, value));
      const fitting = values.filter(([kind, value]) => schemas.problem(kind, value) === undefined);
      return { dialect, fitting: fitting.length / values.length };
    });
    for (const { dialect, fitting } of counts) console.log(`${dialect}: ${Math.round(fitting * 100)} % of the recorded values fit`);
    for (const { fitting } of counts) expect(fitting).toBeGreaterThan(0.1);
  });
});

/** The rule that is broken, without the value that breaks it. */
function withoutValue(problem: string): string {
  return problem.replace(/ \([^(]*\)$/, '').replace(/ \(.*$/, '');
}
