/** The error answers of providers, whichever of the known shapes they have, as our errors. */
import { GatewayError } from '@meridian/domain/error';
import { AnswerLimitError } from './answer-limit.ts';
import { isObject, type JsonObject } from './json.ts';
import { JsonDepthError, JsonKeyError, JsonSyntaxError } from './json-scanner.ts';

/** Longer texts of providers are cut. */
const MAX_PUBLIC_MESSAGE_CHARACTERS = 2_000;
const MAX_CAUSE_CHARACTERS = 4_000;
const MAX_RETRY_AFTER_SECONDS = 24 * 60 * 60;

/** What can be told of an error body, whichever of the known shapes it has. */
interface ErrorBody {
  readonly message: string | undefined;
  readonly code: string | undefined;
  /** A status that is written in the body: an answer of 200, or an event of a stream, has no other. */
  readonly status: number | undefined;
  readonly param: string | undefined;
  readonly retryDelaySeconds: number | undefined;
  readonly failedGeneration: string | undefined;
  /** All by which the body calls the error: code, status, type and reason. */
  readonly words: readonly string[];
}

/** An upstream's error answer as our error. */
export function readUpstreamError(status: number, headers: Readonly<Record<string, string>>, body: Buffer): GatewayError {
  const text = body.toString('utf8');
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Proxies in front of providers answer in HTML: the status has to do.
    parsed = undefined;
  }
  return toGatewayError(status, readErrorBody(parsed), retryAfter(headers), `${status}: ${text}`);
}

/** An error that came as the body of a success, or as an event of a stream. */
export function errorFromAnswer(answer: unknown): GatewayError {
  const read = readErrorBody(answer);
  return toGatewayError(read.status ?? 502, read, undefined, JSON.stringify(answer));
}

function toGatewayError(status: number, body: ErrorBody, retryAfterSeconds: number | undefined, raw: string): GatewayError {
  const cause = raw.slice(0, MAX_CAUSE_CHARACTERS);
  const delay = retryAfterSeconds ?? body.retryDelaySeconds;
  if (isClientError(status) && !namesBadKey(body)) {
    const retryable = body.code === 'tool_use_failed';
    return new GatewayError(status === 404 ? 'model_not_found' : status === 413 ? 'request_too_large' : 'invalid_request_error', {
      source: 'client',
      status,
      retryable,
      cause,
      ...(body.message === undefined ? {} : { message: publicText(body.message) }),
      ...(body.param === undefined ? {} : { param: body.param }),
      ...upstreamDetails(body),
    });
  }
  return new GatewayError('upstream_error', {
    source: 'upstream',
    retryable: true,
    cause,
    ...(delay === undefined ? {} : { retryAfterSeconds: delay }),
    ...publicMessage(status, body),
  });
}

/** What a provider says of its account with us (its key, its credit, its limits and how far they are used) is nobody else's. */
function publicMessage(status: number, body: ErrorBody): { readonly message?: string } {
  if (isOfRate(status, body)) return { message: 'The provider takes no more requests at the moment.' };
  if (body.message === undefined || isOfAccount(status, body)) return {};
  return { message: `The provider could not answer the request: ${publicText(body.message)}` };
}

/** Events of streams have no status: there the words tell. */
const RATE_WORDS: ReadonlySet<string> = new Set([
  'rate_limit_exceeded',
  'rate_limit_error',
  'rate_limit',
  'rate_limited',
  'too_many_requests',
  'RESOURCE_EXHAUSTED',
  'insufficient_quota',
  'tokens',
  'requests',
]);

const ACCOUNT_WORDS: ReadonlySet<string> = new Set([
  'authentication_error',
  'permission_error',
  'billing_error',
  'invalid_api_key',
  'API_KEY_INVALID',
  'UNAUTHENTICATED',
  'PERMISSION_DENIED',
]);

const RATE_TEXT = /rate limit|requests per (second|minute|min|day)|tokens per (minute|min|day)|current quota|quota exceeded/i;
const ACCOUNT_TEXT = /your (organization|account|plan|project|workspace|subscription)\b|billing/i;

function isOfRate(status: number, { words, message = '' }: ErrorBody): boolean {
  return status === 429 || words.some((word) => RATE_WORDS.has(word)) || RATE_TEXT.test(message);
}

function isOfAccount(status: number, body: ErrorBody): boolean {
  if (status === 401 || status === 402 || status === 403 || isClientError(status)) return true;
  return body.words.some((word) => ACCOUNT_WORDS.has(word)) || ACCOUNT_TEXT.test(body.message ?? '');
}

/** Statuses by which a provider says that the request itself is at fault. */
function isClientError(status: number): boolean {
  return status === 400 || status === 404 || status === 413 || status === 422;
}

/** Some providers answer 400 to a bad key, or to an account without credit or rights; all are ours, so the client is not told. */
function namesBadKey(body: ErrorBody): boolean {
  if (body.code === 'API_KEY_INVALID' || body.code === 'invalid_api_key') return true;
  const { message } = body;
  return message !== undefined && (BAD_KEY.test(message) || NO_CREDIT.test(message));
}

const BAD_KEY =
  /\b(incorrect|invalid|expired|missing|no|wrong|unknown|provide a valid|pass a valid)\s+api[ _-]?key|api[ _-]?key\b.{0,40}\b(not valid|invalid|not found|expired|incorrect|revoked|missing|disabled)/i;

const NO_CREDIT = /credit balance is too low|your organization must be verified/i;

const CONTEXT_OVERFLOW =
  /context[ _]length|maximum context|context window|prompt is too long|too many tokens|exceeds? the (maximum|max).{0,40}tokens|input token count/i;

function upstreamDetails(body: ErrorBody): { readonly details?: JsonObject } {
  const code = body.message !== undefined && CONTEXT_OVERFLOW.test(body.message) ? 'context_length_exceeded' : body.code;
  const details = {
    ...(code === undefined ? {} : { upstream_code: publicText(code) }),
    ...(body.failedGeneration === undefined ? {} : { failed_generation: body.failedGeneration }),
  };
  return Object.keys(details).length === 0 ? {} : { details };
}

/**
 * Known shapes: `{error: {message, type, param, code}}` · `{error: {code: number, message, status, details}}` (also in an
 * array) · `{type: "error", error: {type, message}}` · `{code, error: string}` · `{detail: string | [{loc, msg}]}` ·
 * `{message}` · `{id, message}`.
 */
function readErrorBody(parsed: unknown): ErrorBody {
  const outer: unknown = Array.isArray(parsed) ? parsed[0] : parsed;
  if (!isObject(outer))
    return {
      message: undefined,
      code: undefined,
      status: undefined,
      param: undefined,
      retryDelaySeconds: undefined,
      failedGeneration: undefined,
      words: [],
    };
  const inner = isObject(outer.error) ? outer.error : outer;
  const details = Array.isArray(inner.details) ? inner.details.filter(isObject) : [];
  const reason = details.map((detail) => detail.reason).find((value) => typeof value === 'string');
  return {
    message: firstText(inner.message, outer.error, detailText(outer.detail), outer.message),
    code: firstText(reason, inner.code, inner.status, inner.type),
    status: [inner.status_code, inner.code, inner.status].find(isErrorStatus),
    param: firstText(inner.param),
    retryDelaySeconds: details.map((detail) => seconds(detail.retryDelay)).find((value) => value !== undefined),
    failedGeneration: firstText(inner.failed_generation),
    words: [reason, inner.code, inner.status, inner.type].filter((word) => typeof word === 'string'),
  };
}

function isErrorStatus(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 400 && value <= 599;
}

function firstText(...values: readonly unknown[]): string | undefined {
  return values.find((value): value is string => typeof value === 'string' && value !== '');
}

function detailText(detail: unknown): string | undefined {
  if (typeof detail === 'string') return detail;
  if (!Array.isArray(detail)) return undefined;
  const lines = detail.filter(isObject).map((item) => {
    const where = Array.isArray(item.loc) ? `${item.loc.join('.')}: ` : '';
    return `${where}${typeof item.msg === 'string' ? item.msg : 'invalid'}`;
  });
  return lines.length === 0 ? undefined : lines.join('; ');
}

/** `"35s"` or `"1.5s"`. */
function seconds(value: unknown): number | undefined {
  if (typeof value !== 'string') return undefined;
  const match = /^(\d+(?:\.\d+)?)s$/.exec(value);
  return match === null ? undefined : boundedDelay(Number(match[1]));
}

/** The wait a provider asks for; a date is read against the answer's own `date`, so no clock is needed. */
function retryAfter(headers: Readonly<Record<string, string>>): number | undefined {
  const milliseconds = headers['retry-after-ms'];
  if (milliseconds !== undefined && /^\d+(\.\d+)?$/.test(milliseconds)) return boundedDelay(Number(milliseconds) / 1000);
  const value = headers['retry-after'];
  if (value === undefined) return undefined;
  if (/^\d+(\.\d+)?$/.test(value)) return boundedDelay(Number(value));
  const wait = (Date.parse(value) - Date.parse(headers.date ?? '')) / 1000;
  return Number.isFinite(wait) && wait >= 0 ? boundedDelay(wait) : undefined;
}

function boundedDelay(delaySeconds: number): number {
  return Math.min(Math.ceil(delaySeconds), MAX_RETRY_AFTER_SECONDS);
}

const SECRETS = [
  // Keys as the trade writes them, whole or masked: a short prefix, a dash or underscore, then the secret.
  /\b(?:sk|pk|rk|gsk|xai|pplx|csk|hf|fw|r8|nvapi|tgp)[-_][A-Za-z0-9_*.-]{6,}/g,
  /\b(?:key|api|org|proj)[-_](?=[A-Za-z0-9_*.-]*[0-9*])[A-Za-z0-9_*.-]{8,}/g,
  /\bAIza[A-Za-z0-9_*-]{6,}/g,
  /\bA(?:KIA|SIA)[A-Z0-9]{8,}/g,
  /\bBearer\s+\S+/gi,
  /\bey[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*/g,
  // Anything else that is long, has both letters and digits, and no space.
  /\b(?=[A-Za-z0-9_]*\d)(?=[A-Za-z0-9_]*[A-Za-z])[A-Za-z0-9_]{32,}\b/g,
];

/** A provider's text without anything that looks like a key or an organisation of ours. */
export function publicText(text: string): string {
  let clean = text.slice(0, MAX_PUBLIC_MESSAGE_CHARACTERS * 2);
  for (const secret of SECRETS) clean = clean.replace(secret, '[redacted]');
  return clean.slice(0, MAX_PUBLIC_MESSAGE_CHARACTERS);
}

/**
 * What was thrown while an upstream's stream was read: JSON that is none is the upstream's fault, JSON that is too deep a limit of ours,
 * and anything else that is not an error of ours a bug.
 */
export function streamFailure(thrown: unknown): GatewayError {
  if (thrown instanceof JsonDepthError) return new AnswerLimitError(thrown);
  if (!(thrown instanceof JsonSyntaxError) && !(thrown instanceof JsonKeyError)) return GatewayError.from(thrown);
  return new GatewayError('upstream_error', { source: 'upstream', message: "The provider's stream could not be read.", cause: thrown });
}
