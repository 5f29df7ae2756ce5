/** Parameters of a query that choose a page of a list. */
import { GatewayError } from '@meridian/domain/error';

/** As Fastify reads it: a parameter that stands twice is an array. */
export type Query = Readonly<Record<string, unknown>>;

/** Throws GatewayError 400 for a parameter that stands twice. */
export function textParameter(query: Query, name: string): string | undefined {
  const value = query[name];
  if (value === undefined || typeof value === 'string') return value;
  throw invalid(name, 'must stand once');
}

/** A whole number, or `fallback` where there is none. Throws GatewayError 400. */
export function countParameter(
  query: Query,
  name: string,
  terms: { readonly least: number; readonly most: number; readonly fallback: number },
): number {
  const text = textParameter(query, name);
  if (text === undefined) return terms.fallback;
  const count = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (count >= terms.least && count <= terms.most) return count;
  throw invalid(name, `must be a whole number from ${terms.least} to ${terms.most}`);
}

export function invalid(param: string, what: string): GatewayError {
  return new GatewayError('invalid_request_error', { message: `The parameter '${param}' ${what}.`, param });
}
