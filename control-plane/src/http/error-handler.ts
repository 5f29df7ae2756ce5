/** The one place where errors of the control plane become HTTP answers. */
import type { Socket } from 'node:net';
import { GatewayError } from '@meridian/domain/error';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';

export interface ErrorBody {
  readonly error: { readonly message: string; readonly type: string; readonly code: string; readonly param: string | null };
}

/** The public form of an error: never a cause, never a stack. */
export function errorBody(error: GatewayError): ErrorBody {
  return { error: { ...error.details, message: error.message, type: error.code, code: error.code, param: error.param ?? null } };
}

/** Logs what went wrong on our side and answers with the public form. */
export function handleError(thrown: unknown, request: FastifyRequest, reply: FastifyReply): void {
  const error = toGatewayError(thrown);
  if (error.status >= 500) request.log.error({ err: error.cause ?? error, code: error.code }, 'request failed');
  // What has no route may be a path with a secret in it, one letter off.
  else request.log.info({ code: error.code, param: error.param }, error.code === 'unsupported_endpoint' ? 'no such route' : error.message);
  if (error.retryAfterSeconds !== undefined) reply.header('retry-after', String(error.retryAfterSeconds));
  // A body that was refused unread would be taken for the next request.
  if (error.code === 'request_too_large') reply.header('connection', 'close');
  reply.code(error.status).type('application/json; charset=utf-8').send(errorBody(error));
}

export function handleNotFound(request: FastifyRequest, reply: FastifyReply): void {
  const message = `There is no ${request.method} ${request.url.split('?', 1)[0]?.slice(0, 200)}.`;
  handleError(new GatewayError('unsupported_endpoint', { message }), request, reply);
}

/** Answers what the HTTP parser refused: control characters in headers, headers too long, no HTTP at all. */
export function handleParserError(error: Error & { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const message =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? 'The request headers are too long.'
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? 'The request did not arrive in time.'
        : 'The request is not valid HTTP: check its request line and its headers for control characters.';
  const body = JSON.stringify(errorBody(new GatewayError('invalid_request_error', { message })));
  socket.end(
    `HTTP/1.1 400 Bad Request\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/** Names what is unknown, once, at the border. */
function toGatewayError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown;
  if (thrown instanceof z.ZodError) return fromZod(thrown);
  // By its name: this room knows no database.
  if (thrown instanceof Error && thrown.name === 'DatabaseUnreachableError') {
    return new GatewayError('control_plane_unavailable', { source: 'gateway', retryAfterSeconds: 1, cause: thrown });
  }
  if (isFastifyError(thrown)) return fromFastify(thrown);
  return GatewayError.from(thrown);
}

function fromFastify(error: FastifyError): GatewayError {
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new GatewayError('unsupported_media_type', { message: 'The body must be JSON, sent with content-type: application/json.' });
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return new GatewayError('request_too_large', { message: error.message });
    case 'FST_ERR_BAD_URL':
      return new GatewayError('invalid_request_error', { message: 'The path is not valid percent-encoded UTF-8.' });
    default:
      if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
        return new GatewayError('invalid_request_error', { message: error.message });
      }
      return GatewayError.from(error);
  }
}

function fromZod(error: z.ZodError): GatewayError {
  const issue = nearestIssue(error.issues);
  if (issue === undefined) return new GatewayError('invalid_request_error');
  if (issue.code === 'unrecognized_keys') {
    const param = pathOf([...issue.path, issue.keys[0] ?? '']);
    return new GatewayError('invalid_request_error', { message: `There is no field ${param} here.`, param });
  }
  const param = pathOf(issue.path);
  return new GatewayError('invalid_request_error', {
    message: param === '' ? `The body is not valid: ${issue.message}` : `${param}: ${issue.message}`,
    ...(param === '' ? {} : { param }),
  });
}

/** Of a choice between forms, the issue of the form that was meant: the one that was followed deepest. */
function nearestIssue(issues: readonly z.core.$ZodIssue[]): z.core.$ZodIssue | undefined {
  const [issue] = issues;
  if (issue?.code !== 'invalid_union') return issue;
  let nearest: z.core.$ZodIssue | undefined;
  for (const form of issue.errors) {
    const found = nearestIssue(form);
    if (found !== undefined && (nearest === undefined || found.path.length >= nearest.path.length)) nearest = found;
  }
  return nearest === undefined ? issue : { ...nearest, path: [...issue.path, ...nearest.path] };
}

/** `['models', 0, 'id']` → `models[0].id`. */
function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? String(part) : `${text}.${String(part)}`;
  }, '');
}

function isFastifyError(thrown: unknown): thrown is FastifyError {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' && thrown.code.startsWith('FST_ERR_');
}
