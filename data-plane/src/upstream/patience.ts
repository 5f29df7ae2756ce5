/** How long each stage of a call may take. */
import type { UpstreamTimeouts } from './call.ts';

/** What a whole answer gets on top of a stream's first byte, for each output token it may have. */
const MS_PER_OUTPUT_TOKEN = 20;
const MAX_FIRST_BYTE_MS = 600_000;
/** What an answer is taken to have at most where the client set no limit: nobody waits ten minutes for a provider that is silent. */
const UNLIMITED_OUTPUT_TOKENS = 4_096;

export interface PatienceSettings {
  readonly upstreamConnectTimeoutMs: number;
  readonly upstreamFirstByteTimeoutMs: number;
  readonly upstreamIdleTimeoutMs: number;
  readonly upstreamTotalTimeoutMs: number;
}

/** A stream's head comes at once; a whole answer's head comes when all of it is generated. */
export function patience(
  settings: PatienceSettings,
  request: { readonly stream: boolean; readonly operation: string; readonly maxOutputTokens: number | undefined },
  modelMaxOutputTokens: number | undefined,
): UpstreamTimeouts {
  const base = settings.upstreamFirstByteTimeoutMs;
  const tokens = request.maxOutputTokens ?? Math.min(UNLIMITED_OUTPUT_TOKENS, modelMaxOutputTokens ?? UNLIMITED_OUTPUT_TOKENS);
  const generates = !request.stream && request.operation !== 'embeddings';
  return {
    connectMs: settings.upstreamConnectTimeoutMs,
    firstByteMs: generates ? Math.max(base, Math.min(MAX_FIRST_BYTE_MS, base + tokens * MS_PER_OUTPUT_TOKEN)) : base,
    idleMs: settings.upstreamIdleTimeoutMs,
    totalMs: settings.upstreamTotalTimeoutMs,
  };
}
