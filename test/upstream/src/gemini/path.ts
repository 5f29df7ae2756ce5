// Gemini's paths, which name the model and the method.

import type { Call } from '../wire.ts';

/** What a path such as /models/gemini-2.5-flash:generateContent asks for. */
export interface Target {
  /** Without `models/` before it; empty for the list. */
  model: string;
  method: string;
  stream: boolean;
  /** A stream as server-sent events; else as one JSON array. */
  sse: boolean;
}

/** Reads an operation path and the query of a call. */
export function targetOf(call: Pick<Call, 'operation' | 'path'>): Target {
  let path = call.operation;
  try {
    path = decodeURIComponent(path);
  } catch {
    // A path that cannot be decoded is taken as it stands; no model has its name.
  }
  const match = /^\/(?:models|tunedModels)\/+(?:models\/)?([^:]+)(?::(\w+))?$/.exec(path);
  const query = new URLSearchParams(call.path.split('?')[1] ?? '');
  const method = match?.[2] ?? '';
  return { model: match?.[1] ?? '', method, stream: method === 'streamGenerateContent', sse: query.get('alt') === 'sse' };
}

/** The key of a call: in its header, or in the query. */
export function googleKey(headers: Call['headers'], path: string): string | null {
  const header = headers['x-goog-api-key'];
  if (typeof header === 'string' && header !== '') return header;
  return new URLSearchParams(path.split('?')[1] ?? '').get('key');
}
