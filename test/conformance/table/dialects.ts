/** The dialects that a node speaks, as it finds them. */
import type { Dialect } from '@meridian/data-plane/dialect/dialect';
import { dialectOf, type Spoken } from '@meridian/data-plane/dialect/registry';
import { GatewayError } from '@meridian/domain/error';

/** Undefined for one that this build does not speak. */
export function dialectNamed(name: Spoken): Dialect | undefined {
  try {
    return dialectOf(name);
  } catch (error) {
    if (error instanceof GatewayError) return undefined;
    throw error;
  }
}
