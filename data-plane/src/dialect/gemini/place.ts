/** What this dialect's paths say: the model, which may have slashes, and what is asked of it. */
import type { Operation } from '@meridian/domain/dialect';
import { GatewayError } from '@meridian/domain/error';
import type { RequestPlace } from '../dialect.ts';

export type MethodCall =
  | { readonly kind: 'operation'; readonly operation: Operation; readonly place: RequestPlace }
  | { readonly kind: 'count_tokens'; readonly place: RequestPlace };

/** `rest` is what follows `…/models/`: `gemini-2.5-pro:generateContent`. Throws GatewayError 404 `unsupported_endpoint`. */
export function methodCall(rest: string): MethodCall {
  const colon = rest.lastIndexOf(':');
  const model = rest.slice(0, colon);
  const method = rest.slice(colon + 1);
  switch (colon === -1 ? '' : method) {
    case 'generateContent':
      return { kind: 'operation', operation: 'chat', place: { model, stream: false } };
    case 'streamGenerateContent':
      return { kind: 'operation', operation: 'chat', place: { model, stream: true } };
    case 'embedContent':
    case 'batchEmbedContents':
      return { kind: 'operation', operation: 'embeddings', place: { model, stream: false, form: method } };
    case 'countTokens':
      return { kind: 'count_tokens', place: { model } };
    default:
      throw new GatewayError('unsupported_endpoint', {
        message: `There is no '${method.slice(0, 64)}' here. Use generateContent, streamGenerateContent, countTokens, embedContent or batchEmbedContents.`,
      });
  }
}
