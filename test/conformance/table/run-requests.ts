/** Requests from clients of each dialect to upstreams of each: the cases of our own, and all that were recorded. */
import { DIALECT_NAMES, type DialectName } from '@meridian/domain/dialect';
import { MESSAGE_CASES } from './cases/message-cases.ts';
import { PARAMETER_CASES } from './cases/parameter-cases.ts';
import type { Outcome, RequestCase } from './cases/request-case.ts';
import { TOOL_CASES } from './cases/tool-cases.ts';
import type { ClientRequest, Via } from './exchange.ts';
import type { Json } from './json.ts';
import { type Judged, judgeRequest } from './judge-request.ts';
import { recordings } from './recordings.ts';
import type { Row } from './row.ts';

/** One request on its way to one upstream. */
export interface CarriedRequest {
  readonly kind: 'request' | 'recorded request';
  readonly number: number;
  readonly what: string;
  readonly client: DialectName;
  readonly upstream: DialectName;
  readonly via: Via;
  readonly judged: Judged;
  readonly complaints: readonly string[];
}

export function runOwnRequests(): Row[] {
  return carriedOwnRequests().map(rowOf);
}

export function runRecordedRequests(): Row[] {
  return carriedRecordedRequests().map(rowOf);
}

function rowOf({ judged, ...row }: CarriedRequest): Row {
  return { ...row, result: resultOf(judged) };
}

export function carriedOwnRequests(): CarriedRequest[] {
  return [...MESSAGE_CASES, ...TOOL_CASES, ...PARAMETER_CASES].flatMap((one) =>
    DIALECT_NAMES.flatMap((client) => {
      const asked = one.asked[client];
      if (asked === undefined) return [];
      return DIALECT_NAMES.map((upstream) => carryOwn(one, clientRequest(client, asked, one.isStream === true), client, upstream));
    }),
  );
}

export function clientRequest(client: DialectName, asked: Json, isStream: boolean): ClientRequest {
  if (client === 'gemini') return { body: asked, place: { model: 'client-model', stream: isStream } };
  return { body: { model: 'client-model', ...asked, ...(isStream ? { stream: true } : {}) }, place: { stream: isStream } };
}

function carryOwn(one: RequestCase, request: ClientRequest, client: DialectName, upstream: DialectName): CarriedRequest {
  // Between two ends of one dialect the upstream judges.
  const via: Via = client === upstream ? 'bytes' : 'words';
  const judged = judgeRequest(client, upstream, request, one.models?.[upstream], via, one.capabilities);
  const expected: Outcome = via === 'bytes' ? [] : (one.outcomeOf?.[`${client}>${upstream}`] ?? one.outcome?.[upstream] ?? []);
  const saidBy = one.saidBy?.[upstream] ?? [];
  const complaints = judged.unexplained.filter(({ of }) => !saidBy.includes(of)).map(({ of, what }) => `${of}: ${what}`);
  if (judged.refusal !== undefined) {
    if (expected !== 'refuse') complaints.push(`refused: ${judged.refusal.message}`);
    else if (judged.refusal.status !== 400) complaints.push(`refused with ${judged.refusal.status}`);
  } else if (expected === 'refuse') complaints.push('it was not refused');
  else {
    for (const name of judged.losses) if (!expected.includes(name)) complaints.push(`${name} is lost without need`);
    for (const name of expected) if (!judged.losses.includes(name)) complaints.push(`${name} is lost without a name`);
    if (via === 'words') complaints.push(...(one.check?.(judged.body, upstream, client) ?? []));
  }
  return { kind: 'request', number: one.number, what: one.what, client, upstream, via, judged, complaints };
}

function resultOf({ refusal, losses }: Judged): string {
  if (refusal !== undefined) return String(refusal.status);
  return losses.length === 0 ? 'pass' : losses.join(', ');
}

/** Refusals that a recorded request may meet elsewhere: what it asks for is its provider's own. */
const REFUSED_ELSEWHERE =
  /service_tier|holds nothing|cannot be used|only the provider|stop sequence|file|fetch|inline|audio|video|answers|choices|`n`|result|no form|does not take|cannot be|previous_response_id|conversation|[Ss]tore/;

export function carriedRecordedRequests(): CarriedRequest[] {
  return recordings().flatMap(({ name, dialect, request, status }) => {
    if (request === undefined || status >= 400) return [];
    const place = { ...(request.model === undefined ? {} : { model: request.model }), stream: request.isStream };
    return DIALECT_NAMES.map((upstream) => {
      const via = dialect === upstream ? ('bytes' as const) : ('words' as const);
      const judged = judgeRequest(dialect, upstream, { body: request.body, place }, undefined, via);
      const complaints = judged.unexplained.map(({ of, what }) => `${of}: ${what}`);
      if (judged.refusal !== undefined && !REFUSED_ELSEWHERE.test(judged.refusal.message))
        complaints.push(`refused: ${judged.refusal.message}`);
      return { kind: 'recorded request' as const, number: 0, what: name, client: dialect, upstream, via, judged, complaints };
    });
  });
}
