/** Errors of ours and of upstreams, as clients of each dialect get them. */
import { dialectOf } from '@meridian/data-plane/dialect/registry';
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import { ERROR_CODES, type ErrorCode } from '@meridian/domain/error-code';
import { REQUEST_ID } from './exchange.ts';
import { isJson, type Json, numberAt, objectAt, parsed, textAt } from './json.ts';
import { recordings } from './recordings.ts';
import type { Row } from './row.ts';
import { readSse } from './sse-reading.ts';

const MESSAGES_TYPES = new Set([
  'invalid_request_error',
  'authentication_error',
  'billing_error',
  'permission_error',
  'not_found_error',
  'request_too_large',
  'rate_limit_error',
  'timeout_error',
  'api_error',
  'overloaded_error',
]);
const GOOGLE_STATUSES = new Set([
  'INVALID_ARGUMENT',
  'FAILED_PRECONDITION',
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
  'NOT_FOUND',
  'ABORTED',
  'RESOURCE_EXHAUSTED',
  'CANCELLED',
  'INTERNAL',
  'UNAVAILABLE',
  'DEADLINE_EXCEEDED',
]);

/** What is wrong with an error body in the eyes of a client. */
function shapeProblems(client: DialectName, status: number, body: unknown): string[] {
  const problems: string[] = [];
  const error = objectAt(body, 'error');
  if (textAt(error, 'message') === '') problems.push('no message');
  switch (client) {
    case 'openai-chat':
    case 'openai-responses':
      for (const key of ['type', 'code']) if (textAt(error, key) === '' || textAt(error, key) === 'None') problems.push(`no ${key}`);
      if (!('param' in error)) problems.push('no param');
      break;
    case 'anthropic-messages':
      if (textAt(body, 'type') !== 'error') problems.push('type is not error');
      if (!MESSAGES_TYPES.has(textAt(error, 'type'))) problems.push(`error.type ${textAt(error, 'type')}`);
      if (textAt(body, 'request_id') !== REQUEST_ID) problems.push('no request_id');
      break;
    case 'gemini':
      if (numberAt(error, 'code') !== status) problems.push(`code ${numberAt(error, 'code')} in a ${status}`);
      if (!GOOGLE_STATUSES.has(textAt(error, 'status'))) problems.push(`status ${textAt(error, 'status')}`);
      if (!Array.isArray(error.details)) problems.push('no details');
      break;
    default:
      client satisfies never;
  }
  return problems;
}

/** One dialect has a status of its own for a service that takes nothing at the moment. */
function expectedStatus(client: DialectName, status: number): number {
  return client === 'anthropic-messages' && status === 503 ? 529 : status;
}

function judge(client: DialectName, error: GatewayError, status: number): string[] {
  const dialect = dialectOf(client);
  const rendered = dialect.renderError(error, REQUEST_ID);
  const body = parsed(rendered.body.toString('utf8'));
  const problems = shapeProblems(client, rendered.status, body);
  if (rendered.status !== expectedStatus(client, status)) problems.push(`${rendered.status} instead of ${expectedStatus(client, status)}`);
  const header = rendered.headers.indexOf('retry-after');
  const retryAfter = header === -1 ? undefined : rendered.headers[header + 1];
  const expected = error.retryAfterSeconds === undefined ? undefined : String(Math.ceil(error.retryAfterSeconds));
  if (retryAfter !== expected) problems.push(`retry-after ${retryAfter} instead of ${expected}`);
  return [...problems, ...streamProblems(client, error)];
}

/** In a stream of which nothing but keep-alives was sent. */
function streamProblems(client: DialectName, error: GatewayError): string[] {
  const { events } = readSse(dialectOf(client).renderStreamError(error, REQUEST_ID));
  const [first] = events;
  const value = parsed(first?.data ?? '');
  if (!isJson(value)) return ['an error in a stream is not JSON'];
  switch (client) {
    case 'openai-chat':
      return isJson(value.error) ? [] : ['an error in a stream without error'];
    case 'openai-responses':
      return ['error', 'response.failed'].includes(textAt(value, 'type')) && first?.event === textAt(value, 'type')
        ? []
        : ['an unnamed error'];
    case 'anthropic-messages':
      return first?.event === 'error' && textAt(value, 'type') === 'error' ? [] : ['SDKs do not see an unnamed error'];
    case 'gemini':
      return isJson(value.error) ? [] : ['an error in a stream without error'];
    default:
      return client satisfies never;
  }
}

function row(
  kind: Row['kind'],
  number: number,
  what: string,
  client: DialectName,
  upstream: DialectName,
  complaints: readonly string[],
): Row {
  return { kind, number, what, client, upstream, via: client === upstream ? 'bytes' : 'words', result: 'pass', complaints };
}

interface UpstreamError {
  readonly number: number;
  readonly what: string;
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly bodies: Readonly<Record<DialectName, Json>>;
  /** The status that our client gets, before its dialect has its word. */
  readonly expected: number;
  readonly retryAfterSeconds?: number;
  readonly check?: (error: GatewayError) => readonly string[];
  /** What the client must read in its own protocol. */
  readonly checkBody?: (client: DialectName, error: Json) => readonly string[];
}

const openai = (message: string, type: string, code: string | null): Json => ({ error: { message, type, param: null, code } });
const both = (body: Json): Pick<UpstreamError['bodies'], 'openai-chat' | 'openai-responses'> => ({
  'openai-chat': body,
  'openai-responses': body,
});
const anthropic = (type: string, message: string): Json => ({ type: 'error', error: { type, message }, request_id: 'req_up' });
const google = (code: number, status: string, message: string, details: readonly Json[] = []): Json => ({
  error: { code, message, status, details },
});

const hidesKey = (error: GatewayError): string[] => (/sk-|AIza/.test(error.message) ? ['a key of ours is told'] : []);

/** The words by which programs of each protocol see that they have to make room. */
function overflowProblems(client: DialectName, error: Json): string[] {
  switch (client) {
    case 'openai-chat':
    case 'openai-responses':
      return textAt(error, 'code') === 'context_length_exceeded' ? [] : [`code ${textAt(error, 'code')}`];
    case 'anthropic-messages':
      return textAt(error, 'message').startsWith('prompt is too long') ? [] : [textAt(error, 'message')];
    case 'gemini':
      return JSON.stringify(error.details).includes('context_length_exceeded') ? [] : ['it is not known as such'];
    default:
      return client satisfies never;
  }
}

const UPSTREAM_ERRORS: readonly UpstreamError[] = [
  {
    number: 100,
    what: 'a mistake of the client',
    status: 400,
    expected: 400,
    bodies: {
      ...both(openai("Unsupported parameter: 'x'", 'invalid_request_error', 'unsupported_parameter')),
      'anthropic-messages': anthropic('invalid_request_error', "Unsupported parameter: 'x'"),
      gemini: google(400, 'INVALID_ARGUMENT', "Unsupported parameter: 'x'"),
    },
    check: (error) => (error.message.includes("Unsupported parameter: 'x'") ? [] : ['the text is gone']),
  },
  {
    number: 102,
    what: 'a bad key of ours is not the client’s',
    status: 401,
    expected: 502,
    bodies: {
      ...both(openai('Incorrect API key provided: sk-abcdefgh12345678.', 'invalid_request_error', 'invalid_api_key')),
      'anthropic-messages': anthropic('authentication_error', 'invalid x-api-key sk-ant-abcdefgh12345678'),
      gemini: google(401, 'UNAUTHENTICATED', 'API key AIzaSyabcdefgh12345678 not valid.'),
    },
    check: hidesKey,
  },
  {
    number: 102,
    what: 'a bad key of ours that is told with 400',
    status: 400,
    expected: 502,
    bodies: {
      ...both({ code: 'invalid-argument', error: 'Incorrect API key provided: xai-abcdefgh12345678' }),
      'anthropic-messages': anthropic('invalid_request_error', 'Invalid API key'),
      gemini: google(400, 'INVALID_ARGUMENT', 'API key not valid. Please pass a valid API key.', [
        { '@type': 'type.googleapis.com/google.rpc.ErrorInfo', reason: 'API_KEY_INVALID' },
      ]),
    },
    check: hidesKey,
  },
  {
    number: 103,
    what: 'a hint when to try again',
    status: 429,
    headers: { 'retry-after': '7' },
    expected: 502,
    retryAfterSeconds: 7,
    bodies: {
      ...both(openai('Rate limit reached: Limit 30000, Used 29000.', 'requests', 'rate_limit_exceeded')),
      'anthropic-messages': anthropic('rate_limit_error', "This exceeds your organization's rate limit of 30000 tokens per minute."),
      gemini: google(429, 'RESOURCE_EXHAUSTED', 'Quota exceeded: limit 30000, please check your plan and billing details.'),
    },
    check: (error) => (/30000|organization|billing/.test(error.message) ? ['what our account may do is told'] : []),
  },
  {
    number: 101,
    what: 'an upstream that takes nothing at the moment',
    status: 503,
    expected: 502,
    bodies: {
      ...both(openai('Overloaded', 'server_error', null)),
      'anthropic-messages': anthropic('overloaded_error', 'Overloaded'),
      gemini: google(503, 'UNAVAILABLE', 'The model is overloaded.'),
    },
  },
  {
    number: 104,
    what: 'too long for the context',
    status: 400,
    expected: 400,
    bodies: {
      ...both(openai("This model's maximum context length is 8192 tokens.", 'invalid_request_error', 'context_length_exceeded')),
      'anthropic-messages': anthropic('invalid_request_error', 'prompt is too long: 300000 tokens > 200000 maximum'),
      gemini: google(400, 'INVALID_ARGUMENT', 'The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).'),
    },
    checkBody: overflowProblems,
  },
  {
    number: 105,
    what: 'a model that the upstream does not have',
    status: 404,
    expected: 404,
    bodies: {
      ...both(openai('The model does not exist', 'invalid_request_error', 'model_not_found')),
      'anthropic-messages': anthropic('not_found_error', 'model: x'),
      gemini: google(404, 'NOT_FOUND', 'models/x is not found'),
    },
  },
];

export function runOwnErrors(): Row[] {
  const ours = (Object.keys(ERROR_CODES) as ErrorCode[]).flatMap((code) =>
    DIALECT_NAMES.map((client) => {
      const error = new GatewayError(code, { retryAfterSeconds: 3, param: 'model' });
      return row('error', 100, `our ${code}`, client, client, judge(client, error, ERROR_CODES[code].status));
    }),
  );
  const theirs = UPSTREAM_ERRORS.flatMap((one) =>
    DIALECT_NAMES.flatMap((upstream) => {
      const body = Buffer.from(JSON.stringify(one.bodies[upstream]));
      const error = dialectOf(upstream).readUpstreamError(one.status, one.headers ?? {}, body);
      return DIALECT_NAMES.map((client) => {
        const problems = judge(client, error, one.expected);
        if (error.retryAfterSeconds !== one.retryAfterSeconds) problems.push(`retry after ${error.retryAfterSeconds} s`);
        const rendered = parsed(dialectOf(client).renderError(error, REQUEST_ID).body.toString('utf8'));
        const ofBody = one.checkBody?.(client, objectAt(rendered, 'error')) ?? [];
        return row('error', one.number, one.what, client, upstream, [...problems, ...(one.check?.(error) ?? []), ...ofBody]);
      });
    }),
  );
  return [...ours, ...theirs];
}

/** A mistake of the client keeps its status; what is between us and the provider is 502. */
export function runRecordedErrors(): Row[] {
  return recordings().flatMap(({ name, dialect, status, headers, answer }) => {
    if (status < 400) return [];
    const error = dialectOf(dialect).readUpstreamError(status, headers, answer);
    const isClients = error.source === 'client';
    const problems: string[] = [];
    if ([401, 402, 403].includes(status) && isClients) problems.push(`${status} is told to the client`);
    if (isClients && error.status !== status) problems.push(`${status} became ${error.status}`);
    return DIALECT_NAMES.map((client) =>
      row('recorded error', 0, name, client, dialect, [...problems, ...hidesKey(error), ...judge(client, error, isClients ? status : 502)]),
    );
  });
}
