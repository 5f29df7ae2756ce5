/**
 * Ids of tool calls. Each dialect has its own form for them, clients of any dialect send them back in the next turn, and some upstreams
 * want more back than the id: so what a client gets may hold the upstream's own id, and what it wants back, and says so.
 */
import { createHash } from 'node:crypto';
import { DIALECT_NAMES } from '@meridian/domain/dialect';
import type { ReasoningCarrier } from './message.ts';

const MARK = 'mrd_';
const PLAIN = /^[A-Za-z0-9_-]+$/;
/** Longer than any provider's own prefix. */
const MAX_PREFIX_CHARACTERS = 16;

export interface CallId {
  /** The upstream's own. */
  readonly id: string;
  readonly carriers: readonly ReasoningCarrier[];
}

/**
 * The id for a client of a dialect whose ids begin with `prefix` (`call_`, `toolu_`, empty for any). One that already has that form, and
 * nothing to carry, stays as it is. Letters, digits, `_` and `-` only; injective.
 */
export function packCallId(prefix: string, { id, carriers }: CallId): string {
  const isPlain = carriers.length === 0 && id.startsWith(prefix) && PLAIN.test(id) && !id.startsWith(`${prefix}${MARK}`);
  if (isPlain) return id;
  const value = carriers.length === 0 ? [id] : [id, ...carriers.map((carrier) => [carrier.dialect, carrier.value])];
  return `${prefix}${MARK}${Buffer.from(JSON.stringify(value)).toString('base64url')}`;
}

/** What `packCallId` made, whichever its prefix; any other id is itself. */
export function unpackCallId(text: string): CallId {
  const at = text.slice(0, MAX_PREFIX_CHARACTERS + MARK.length).indexOf(MARK);
  if (at !== -1) {
    try {
      const value: unknown = JSON.parse(Buffer.from(text.slice(at + MARK.length), 'base64url').toString('utf8'));
      if (Array.isArray(value) && typeof value[0] === 'string') {
        const [id, ...rest] = value as [string, ...unknown[]];
        return { id, carriers: rest.map(readCarrier).filter((carrier) => carrier !== undefined) };
      }
    } catch {
      // An id that only looks like ours.
    }
  }
  return { id: text, carriers: [] };
}

function readCarrier(value: unknown): ReasoningCarrier | undefined {
  if (!Array.isArray(value)) return undefined;
  const dialect = DIALECT_NAMES.find((name) => name === value[0]);
  return dialect === undefined ? undefined : { dialect, value: value[1] };
}

/**
 * An id as an upstream takes it: at most `maxCharacters` of letters, digits, `_` and `-`. One that is taken stays; any other is cut to
 * what is taken of it and a hash of all of it, the same in every turn, and no two the same.
 */
export function boundedCallId(id: string, maxCharacters: number): string {
  if (PLAIN.test(id) && id.length <= maxCharacters) return id;
  const hash = createHash('sha256').update(id).digest('base64url').slice(0, 22);
  const head = id.replace(/[^A-Za-z0-9_-]/g, '_').slice(0, Math.max(0, maxCharacters - hash.length - 1));
  return head === '' ? hash : `${head}_${hash}`;
}
