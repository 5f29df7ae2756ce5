/** The data of an upstream's event, which is one JSON object. */
import { GatewayError } from '@meridian/domain/error';
import { isObject, type JsonObject } from './json.ts';

/** Throws GatewayError `upstream_error`. */
export function parseEvent(data: Buffer): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(data.toString('utf8'));
  } catch (error) {
    throw unreadable(error);
  }
  if (!isObject(value)) throw unreadable('an event that is not an object');
  return value;
}

function unreadable(cause: unknown): GatewayError {
  return new GatewayError('upstream_error', { source: 'upstream', message: "The provider's stream could not be read.", cause });
}
