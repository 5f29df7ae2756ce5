/** The word for an error in `error.code` of OpenAI's protocols. */
import type { GatewayError } from '@meridian/domain/error';

/** The catalogue's code, or the more exact one that programs for these protocols act upon. */
export function openAiErrorCode({ code, details }: GatewayError): string {
  if (typeof details?.code === 'string') return details.code;
  return details?.upstream_code === 'context_length_exceeded' ? details.upstream_code : code;
}
