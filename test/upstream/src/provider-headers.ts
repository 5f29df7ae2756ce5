// The headers by which each provider names an answer and tells its limits.

import type { Served } from './operations.ts';
import type { Call } from './wire.ts';

/** The extra headers of an answer, and the id among them. */
export interface ProviderHeaders {
  headers: string[];
  id: string | null;
}

function headerValue(headers: string[], name: string): string | null {
  const at = headers.findIndex((header, index) => index % 2 === 0 && header.toLowerCase() === name);
  return at < 0 ? null : (headers[at + 1] ?? null);
}

/** Writes the headers for one upstream; `newId` gives a text that never repeats. */
export class HeaderWriter {
  readonly #newId: (length: number) => string;
  #requests = 0;

  constructor(newId: (length: number) => string) {
    this.#newId = newId;
  }

  /** The headers to add to a served call; a recording's own ids stand. */
  write(call: Call, known: boolean, served: Served, tookMs: number): ProviderHeaders {
    if (!known) return { headers: [], id: null };
    const own = served.reply.headers;
    if (call.provider === 'gemini') {
      // Google gives no id in its headers: the answer's own is in the body.
      const spent = `gfet4t7; dur=${Math.max(1, Math.round(tookMs))}`;
      return { headers: headerValue(own, 'server-timing') === null ? ['server-timing', spent] : [], id: null };
    }
    if (call.provider === 'anthropic') {
      const recorded = headerValue(own, 'request-id');
      if (recorded !== null) return { headers: [], id: recorded };
      const id = `req_011C${this.#newId(20)}`;
      return { headers: ['request-id', id], id };
    }
    if (call.provider === 'openrouter') {
      const recorded = headerValue(own, 'x-generation-id');
      const added = served.id === null || recorded !== null ? [] : ['x-generation-id', served.id];
      return { headers: added, id: recorded ?? served.id };
    }
    const recorded = headerValue(own, 'x-request-id');
    if (recorded !== null) return { headers: [], id: recorded };
    const id = `req_${Buffer.from(this.#newId(16)).toString('hex')}`;
    const remaining = String(10000 - (++this.#requests % 10000));
    const limits = [
      'x-ratelimit-limit-requests',
      '10000',
      'x-ratelimit-remaining-requests',
      remaining,
      'x-ratelimit-reset-requests',
      '6ms',
    ];
    const spent = String(Math.max(1, Math.round(tookMs)));
    return { headers: ['x-request-id', id, 'openai-processing-ms', spent, 'openai-version', '2020-10-01', ...limits], id };
  }
}
