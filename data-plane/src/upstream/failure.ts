/** Errors of undici and of sockets → an UpstreamFailure: what went wrong, and whether the provider may have begun the work. */
import type { UpstreamFailure, UpstreamFailureKind } from './call.ts';

/** How far a call had come. From `sending` on bytes may be on the wire. */
export type CallStage = 'waiting' | 'sending' | 'awaiting_head' | 'reading';

/** Codes that tell of an answer cut short: the connection went before the body was whole. */
const CUT_SHORT = new Set([
  'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
  'UND_ERR_SOCKET',
  'ECONNRESET',
  'EPIPE',
  'ECONNABORTED',
  'ETIMEDOUT',
  'UND_ERR_INFO',
]);

/** Codes of an answer that is not HTTP as we take it, or of a request that we may not send. */
const UNREADABLE = new Set(['UND_ERR_HEADERS_OVERFLOW', 'UND_ERR_RES_EXCEEDED_MAX_SIZE', 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH']);

/** Codes of a dispatcher that was shut while the call ran. */
const CLOSED = new Set(['UND_ERR_DESTROYED', 'UND_ERR_CLOSED', 'UND_ERR_ABORTED']);

export function failureOf(cause: unknown, stage: CallStage): UpstreamFailure {
  return { kind: kindOf(cause, stage), uncertain: stage !== 'waiting', cause };
}

function kindOf(cause: unknown, stage: CallStage): UpstreamFailureKind {
  const code = codeOf(cause);
  if (CLOSED.has(code)) return 'cancelled';
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || (stage === 'waiting' && code === 'ETIMEDOUT')) return 'connect_timeout';
  if (code === 'UND_ERR_INVALID_ARG') return 'protocol_error';
  if (stage === 'waiting') return 'connect_failed';
  // undici calls a misplaced 100 or 101 a socket error.
  if (code === 'UND_ERR_SOCKET' && cause instanceof Error && cause.message.startsWith('bad ')) return 'protocol_error';
  if (CUT_SHORT.has(code)) return 'reset';
  // undici's parser errors have a name but no code; one of them tells of a chunked body that ended too soon.
  if (cause instanceof Error && cause.name === 'HTTPParserError')
    return cause.message.includes('Invalid EOF state') ? 'reset' : 'protocol_error';
  if (UNREADABLE.has(code)) return 'protocol_error';
  return stage === 'reading' ? 'protocol_error' : 'reset';
}

function codeOf(cause: unknown): string {
  if (typeof cause !== 'object' || cause === null || !('code' in cause)) return '';
  return typeof cause.code === 'string' ? cause.code : '';
}
