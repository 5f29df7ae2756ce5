/** What the trail tells: who changed what, when, from where. */
import { isIPv4, isIPv6 } from 'node:net';

/** Changes of one request that a list shows; the whole is read by the event's id. */
export const MAX_CHANGES_SHOWN_PER_EVENT = 20;

export interface TrailEventRow {
  readonly id: string;
  readonly at: Date;
  readonly request_id: string;
  readonly actor_kind: 'operator' | 'member' | 'file';
  readonly actor_id: string;
  readonly address: string;
  readonly route: string;
  readonly account_id: string | null;
  readonly object_kind: string;
  readonly object_id: string | null;
  readonly note: Readonly<Record<string, unknown>> | null;
}

export interface TrailChangeRow {
  readonly event_id: string;
  readonly account_id: string | null;
  readonly object_kind: string;
  readonly object_id: string;
  readonly before: Readonly<Record<string, unknown>>;
  readonly after: Readonly<Record<string, unknown>>;
}

/** An event with the changes that are shown of it, and how many there are. */
export interface TrailEntry {
  readonly event: TrailEventRow;
  readonly changes: readonly TrailChangeRow[];
  readonly changeCount: number;
}

/** What is asked for; everything given must hold: account and object of the event, or of one of its changes. */
export interface TrailFilter {
  readonly actorKind?: TrailEventRow['actor_kind'] | undefined;
  readonly actorId?: string | undefined;
  readonly objectKind?: string | undefined;
  readonly objectId?: string | undefined;
  readonly accountId?: string | undefined;
  readonly requestId?: string | undefined;
  readonly fromMs?: number | undefined;
  readonly toMs?: number | undefined;
}

/**
 * The network of an address, which is kept in its place: the first 24 bits of IPv4, the first 48 of IPv6. It tells one office from another, not
 * one person from another.
 */
export function networkOf(address: string): string {
  const v4 = /^(?:::ffff:)?(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (v4 !== undefined && isIPv4(v4)) return `${v4.split('.').slice(0, 3).join('.')}.0/24`;
  const v6 = address.split('%', 1)[0] ?? '';
  return isIPv6(v6) ? `${firstGroups(v6, 3).join(':')}::/48` : 'unknown';
}

/** The first groups of an IPv6 address, whatever it leaves out. */
function firstGroups(address: string, count: number): string[] {
  const [head = '', tail] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  if (tail !== undefined) {
    const last = tail === '' ? [] : tail.split(':');
    // An address in dots at the end stands for two groups.
    const width = last.length + (last.at(-1)?.includes('.') === true ? 1 : 0);
    groups.push(...Array<string>(Math.max(0, 8 - groups.length - width)).fill('0'), ...last);
  }
  return groups.slice(0, count).map((group) => group.toLowerCase().replace(/^0+(?=.)/, ''));
}

/**
 * What an account's owner reads of an event: of somebody who acted for another account only what they are. Operators are not named to
 * customers.
 */
export function asSeenBy(accountId: string, event: TrailEventRow): TrailEventRow {
  const isOwn = event.account_id === accountId;
  const about = isOwn ? event : { ...event, account_id: null, object_id: null };
  return isOwn && event.actor_kind === 'member' ? about : { ...about, actor_id: '', address: '', note: null };
}
