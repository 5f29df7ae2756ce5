/** A route with its contract: what it takes and gives as zod schemas, from which it is checked and documented. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { routeName } from './authorize.ts';
import type { Mutation, TrailDeclaration, TrailRecorder } from './trail.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** Fields are checked in this order; whatever a request brings beyond them is refused. */
export interface RouteContract<Params, Query, Headers, Body, Answer> {
  readonly method: Method;
  /** Fastify's form: `/v1/keys/:id`. */
  readonly url: string;
  readonly summary: string;
  /** 200 unless told. */
  readonly status?: 200 | 201 | 202;
  readonly params?: z.ZodType<Params>;
  readonly query?: z.ZodType<Query>;
  /** Only the headers that belong to the contract, in lower case. */
  readonly headers?: z.ZodType<Headers>;
  readonly body?: z.ZodType<Body>;
  /** What leaves: fields that are not in it are dropped, so that no secret column can slip out. */
  readonly answer: z.ZodType<Answer>;
  /** Another form of the answer, for the document: `text/csv`. */
  readonly alsoProduces?: string;
  /** Where a body may be larger than others. */
  readonly bodyLimitBytes?: number;
  /** What it changes. A route that is no GET has it, unless it only reads; the server does not start otherwise. */
  readonly trail?: TrailDeclaration | 'only reads';
}

/** A contract whose types are forgotten, as the document needs it. */
export type AnyRouteContract = RouteContract<unknown, unknown, unknown, unknown, unknown>;

export interface RouteInput<Params, Query, Headers, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly headers: Headers;
  readonly body: Body;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    contract?: AnyRouteContract;
  }
  interface FastifyInstance {
    trail: TrailRecorder;
  }
}

/** An answer that is sent as it is: the media type says how to read it. */
export class RawAnswer {
  readonly contentType: string;
  readonly text: string;

  constructor(contentType: string, text: string) {
    this.contentType = contentType;
    this.text = text;
  }
}

const NOTHING = z.strictObject({});

/** Adds a route that keeps its contract. The handler gets checked input; an error goes to the error handler. */
export function addRoute<Answer, Params = unknown, Query = unknown, Headers = unknown, Body = unknown>(
  app: FastifyInstance,
  contract: RouteContract<Params, Query, Headers, Body, Answer>,
  handle: (input: RouteInput<Params, Query, Headers, Body>) => Promise<Answer | RawAnswer>,
): void {
  app.route({
    method: contract.method,
    url: contract.url,
    config: { contract },
    ...(contract.bodyLimitBytes === undefined ? {} : { bodyLimit: contract.bodyLimitBytes }),
    async handler(request, reply) {
      // A misspelt parameter would silently widen what is asked for.
      if (contract.query === undefined) NOTHING.parse(request.query);
      const input = {
        params: parse(contract.params, request.params),
        query: parse(contract.query, request.query),
        headers: parse(contract.headers, request.headers),
        body: parse(contract.body, request.body),
        request,
        reply,
      };
      const { trail } = contract;
      const work = () => handle(input);
      const answer =
        trail === undefined || trail === 'only reads' ? await work() : await app.trail.record(mutationOf(contract, trail, request), work);
      reply.code(contract.status ?? 200);
      if (answer instanceof RawAnswer) return reply.type(answer.contentType).send(answer.text);
      return reply.type('application/json; charset=utf-8').send(JSON.stringify(checkedAnswer(contract, answer)));
    },
  });
}

/** Who changes what by this request, for the trail. */
function mutationOf(
  contract: { readonly method: Method; readonly url: string },
  trail: TrailDeclaration,
  request: FastifyRequest,
): Mutation {
  const { caller, operator } = request;
  if (caller === undefined && operator === undefined) throw new Error(`${contract.url} changes something for nobody`);
  const params = request.params as Readonly<Record<string, string>>;
  const body = (request.body ?? {}) as Readonly<Record<string, unknown>>;
  const accountId = trail.account === undefined ? caller?.accountId : params[trail.account];
  const noted = (trail.note ?? []).filter((field) => body[field] !== undefined);
  return {
    requestId: request.id,
    actor: caller === undefined ? { kind: 'operator', id: operator ?? '' } : { kind: 'member', id: caller.memberId },
    address: request.ip,
    route: routeName(contract.method, contract.url),
    accountId,
    kind: trail.kind,
    objectId: trail.id === undefined ? (trail.kind === 'account' ? accountId : undefined) : params[trail.id],
    note: noted.length === 0 ? undefined : Object.fromEntries(noted.map((field) => [field, body[field]])),
  };
}

/** An answer that breaks its contract is our mistake: it must not be told to the caller as theirs. */
function checkedAnswer<Answer>(contract: { readonly url: string; readonly answer: z.ZodType<Answer> }, answer: Answer): Answer {
  const checked = contract.answer.safeParse(answer);
  if (!checked.success) throw new Error(`the answer of ${contract.url} breaks its contract`, { cause: checked.error });
  return checked.data;
}

/** A part without a schema is not looked at; its type is then the default of `addRoute`, `unknown`, which everything satisfies. */
function parse<T>(schema: z.ZodType<T> | undefined, value: unknown): T {
  return schema === undefined ? (value as T) : schema.parse(value);
}
