/**
 * The node's picture of the configuration: every entity at the newest version that arrived, whichever way it came.
 *
 * An entity remembers its origin: the heads of the snapshot that brought it, or the first rev of the delta (the change may be
 * anywhere in it). A snapshot is applied by diff: what it does not hold is removed, unless its origin lies after the
 * snapshot; then the lanes, which go on from the snapshot, bring its fate. Tombstones are kept until a snapshot that is not older, so that a late copy on
 * another lane cannot bring an entity back.
 *
 * A refusal that the first snapshot of another database epoch does not have is kept over it, and told to the control plane
 * until a newer version of the entity comes.
 *
 * Not safe for two writers: one sync client applies, everybody reads.
 */
import { createHash } from 'node:crypto';
import type { Cap } from '@meridian/domain/budget';
import type { AliasScope, Model } from '@meridian/domain/model';
import { openSecret } from '@meridian/domain/sealed-secret';
import {
  type Account,
  type ApiKey,
  CONFIG_KINDS,
  type ConfigBody,
  type ConfigEntry,
  type ConfigKind,
  type Denial,
  type Endpoint,
  LANES,
  type Member,
  type Plan,
  type PriceBook,
  type Provider,
} from '@meridian/domain/snapshot';
import type { Ladder } from '@meridian/domain/tier';
import type { LaneRevisions } from '@meridian/wire/codec/lane';
import type { KeyTable, TierStanding } from '../admission/key-table.ts';
import type { Catalogue, NamedModel } from '../routing/catalogue.ts';
import { PictureCatalogue } from './catalogue.ts';
import { PictureKeyTable } from './key-table.ts';

/** Why an entry was not taken. The entity's last good version stays. */
export class EntryRejected extends Error {
  readonly code: 'unreadable_credential';

  constructor(code: 'unreadable_credential', detail: string) {
    super(detail);
    this.name = 'EntryRejected';
    this.code = code;
  }
}

/** Kinds that decide whether a key is let in; what cannot be read of them may be a refusal. */
export type DeniableKind = Denial['kind'];

/** Entities of one kind: how many live ones, and the exclusive or of 64 bits of sha256(id, version) over them, in hex. */
export interface KindDigest {
  readonly count: number;
  readonly xor: string;
}

interface Held {
  version: number;
  /** Undefined: a tombstone. */
  body: ConfigBody | undefined;
  origin: LaneRevisions;
  /** The last snapshot diff that named the entity. */
  seenBy: number;
}

/** One application of a snapshot. */
interface Diff {
  readonly number: number;
  readonly heads: LaneRevisions;
  readonly newEpoch: boolean;
  keptNewer: number;
}

const NOWHERE: LaneRevisions = {};

export class Picture implements KeyTable, Catalogue {
  readonly #sealingKey: Uint8Array;
  readonly #held: Readonly<Record<ConfigKind, Map<string, Held>>>;
  readonly #keys = new PictureKeyTable();
  readonly #catalogue = new PictureCatalogue();
  /** By `kind/id`. */
  readonly #keptDenials = new Map<string, Denial>();
  #diffs = 0;

  constructor(settings: { readonly sealingKey: Uint8Array }) {
    this.#sealingKey = settings.sealingKey;
    const map = (): Map<string, Held> => new Map();
    this.#held = {
      account: map(),
      member: map(),
      api_key: map(),
      cap: map(),
      plan: map(),
      tier_assignment: map(),
      provider: map(),
      credential: map(),
      endpoint: map(),
      model: map(),
      alias: map(),
      price_book: map(),
      ladder: map(),
    };
  }

  /** Takes an entry that is newer than what is held. `origin` is the delta's lane and first rev. Throws EntryRejected. */
  apply(entry: ConfigEntry, origin: LaneRevisions = NOWHERE): 'applied' | 'stale' {
    const held = this.#held[entry.kind].get(entry.id);
    if (held !== undefined && entry.version <= held.version) return 'stale';
    this.#put(entry.kind, entry.id, held, { version: entry.version, body: entry.body, origin, seenBy: held?.seenBy ?? 0 });
    this.#forgetDenial(entry.kind, entry.id);
    return 'applied';
  }

  /**
   * Refuses an entity whose newer state cannot be read: a key, account or member stays refused until a version newer
   * than that one arrives. Without a readable version it counts as one version after what is held.
   */
  deny(kind: DeniableKind, id: string, version: number | undefined, origin: LaneRevisions = NOWHERE): void {
    const held = this.#held[kind].get(id);
    const at = version ?? (held?.version ?? 0) + 1;
    if (held !== undefined && at <= held.version) return;
    this.#put(kind, id, held, {
      version: at,
      body: isDenial(held?.body) ? held?.body : denied(held?.body),
      origin,
      seenBy: held?.seenBy ?? 0,
    });
  }

  /**
   * Starts applying a snapshot whose lanes stood at `heads`. In another database epoch versions start anew, so
   * every entry counts as newer; a refusal that is held outlives the change of epoch.
   */
  beginSnapshot(heads: LaneRevisions, options: { readonly newEpoch: boolean }): SnapshotDiff {
    const diff: Diff = { number: ++this.#diffs, heads, newEpoch: options.newEpoch, keptNewer: 0 };
    return {
      apply: (entry) => this.#applyFromSnapshot(entry, diff),
      keep: (kind, id) => {
        const held = this.#held[kind].get(id);
        if (held === undefined) return;
        held.seenBy = diff.number;
        diff.keptNewer++;
        const denial = denialOver(kind, id, held, undefined);
        if (options.newEpoch && denial !== undefined) this.#keepDenial(denial);
      },
      removeAbsent: () => this.#removeAbsent(diff),
      get keptNewer() {
        return diff.keptNewer;
      },
    };
  }

  /** Refusals of a former epoch that the present one's snapshot did not have, at the versions that they had. */
  keptDenials(): Iterable<Denial> {
    return this.#keptDenials.values();
  }

  /** Takes back what `keptDenials` gave when the picture was stored. */
  keepDenials(denials: Iterable<Denial>): void {
    for (const denial of denials) {
      if (isDenial(this.#held[denial.kind].get(denial.id)?.body)) this.#keepDenial(denial);
    }
  }

  /** Everything that is held, tombstones included, with what it takes to write it down again. */
  *entries(): Generator<ConfigEntry> {
    for (const kind of CONFIG_KINDS) {
      for (const [id, held] of this.#held[kind]) yield { kind, id, version: held.version, body: held.body };
    }
  }

  /** What the node holds, kind by kind. Walks everything: for tests and for the minute's comparison, not for the path. */
  digest(): Readonly<Record<ConfigKind, KindDigest>> {
    const digests: Partial<Record<ConfigKind, KindDigest>> = {};
    for (const kind of CONFIG_KINDS) {
      let count = 0;
      let xor = 0n;
      for (const [id, held] of this.#held[kind]) {
        if (held.body === undefined) continue;
        count++;
        xor ^= createHash('sha256').update(`${id}\n${held.version}`).digest().readBigUInt64BE(0);
      }
      digests[kind] = { count, xor: xor.toString(16).padStart(16, '0') };
    }
    // The loop has been over every kind.
    return digests as Record<ConfigKind, KindDigest>;
  }

  keyByHash(hash: string): ApiKey | undefined {
    return this.#keys.keyByHash(hash);
  }

  account(id: string): Account | undefined {
    return this.#keys.account(id);
  }

  member(id: string): Member | undefined {
    return this.#keys.member(id);
  }

  plan(id: string): Plan | undefined {
    return this.#keys.plan(id);
  }

  capsOf(scopeId: string): readonly Cap[] {
    return this.#keys.capsOf(scopeId);
  }

  cap(id: string): Cap | undefined {
    const body = this.#held.cap.get(id)?.body;
    return body?.kind === 'cap' ? body.value : undefined;
  }

  ladder(): Ladder {
    return this.#keys.ladder();
  }

  tierOf(accountId: string): TierStanding | undefined {
    return this.#keys.tierOf(accountId);
  }

  modelByName(name: string, asker: AliasScope): NamedModel | undefined {
    return this.#catalogue.modelByName(name, asker);
  }

  model(id: string): Model | undefined {
    return this.#catalogue.model(id);
  }

  models(): Iterable<Model> {
    return this.#catalogue.models();
  }

  aliasesOf(modelId: string, asker: AliasScope): readonly string[] {
    return this.#catalogue.aliasesOf(modelId, asker);
  }

  endpointsOf(modelId: string): readonly Endpoint[] {
    return this.#catalogue.endpointsOf(modelId);
  }

  provider(id: string): Provider | undefined {
    return this.#catalogue.provider(id);
  }

  credentialSecret(id: string): string | undefined {
    return this.#catalogue.credentialSecret(id);
  }

  priceBook(modelId: string): PriceBook | undefined {
    return this.#catalogue.priceBook(modelId);
  }

  #applyFromSnapshot(entry: ConfigEntry, diff: Diff): 'applied' | 'stale' {
    const { kind, id, version } = entry;
    const held = this.#held[kind].get(id);
    const next = { version, body: entry.body, origin: diff.heads, seenBy: diff.number };
    if (held === undefined) {
      this.#put(kind, id, held, next);
      return 'applied';
    }
    if (diff.newEpoch && held.seenBy !== diff.number) {
      const denial = denialOver(kind, id, held, entry.body);
      if (denial === undefined) {
        this.#put(kind, id, held, next);
        this.#forgetDenial(kind, id);
      } else {
        this.#put(kind, id, held, { ...next, body: denied(entry.body, held.body) });
        this.#keepDenial(denial);
        diff.keptNewer++;
      }
      return 'applied';
    }
    if (version > held.version) {
      this.#put(kind, id, held, next);
      this.#forgetDenial(kind, id);
      return 'applied';
    }
    held.seenBy = diff.number;
    if (version < held.version || this.#keptDenials.has(nameOf(kind, id))) diff.keptNewer++;
    else if (!isAfter(held.origin, diff.heads)) held.origin = diff.heads;
    return 'stale';
  }

  *#removeAbsent(diff: Diff): Generator<void, number> {
    let removed = 0;
    for (const kind of CONFIG_KINDS) {
      for (const [id, held] of this.#held[kind]) {
        if (held.seenBy !== diff.number) {
          if (diff.newEpoch || !isAfter(held.origin, diff.heads)) {
            this.#index(kind, id, held.body, undefined);
            this.#held[kind].delete(id);
            this.#forgetDenial(kind, id);
            removed++;
          } else {
            diff.keptNewer++;
          }
        }
        yield;
      }
    }
    return removed;
  }

  /** One that was kept over an epoch before already keeps the version that it was told at. */
  #keepDenial(denial: Denial): void {
    const name = nameOf(denial.kind, denial.id);
    const before = this.#keptDenials.get(name);
    this.#keptDenials.set(name, before?.status === denial.status ? before : denial);
  }

  #forgetDenial(kind: ConfigKind, id: string): void {
    if (this.#keptDenials.size > 0) this.#keptDenials.delete(nameOf(kind, id));
  }

  /** The one place where the picture changes. Throws before anything has. */
  #put(kind: ConfigKind, id: string, before: Held | undefined, after: Held): void {
    this.#index(kind, id, before?.body, after.body);
    this.#held[kind].set(id, after);
  }

  #index(kind: ConfigKind, id: string, before: ConfigBody | undefined, after: ConfigBody | undefined): void {
    switch (kind) {
      case 'account':
        this.#keys.setAccount(id, readBody('account', after));
        break;
      case 'member':
        this.#keys.setMember(id, readBody('member', after));
        break;
      case 'api_key':
        this.#keys.setKey(readBody('api_key', before), readBody('api_key', after));
        break;
      case 'cap':
        this.#keys.setCap(readBody('cap', before), readBody('cap', after));
        break;
      case 'plan':
        this.#keys.setPlan(id, readBody('plan', after));
        break;
      case 'tier_assignment':
        this.#keys.setAssignment(id, readBody('tier_assignment', after));
        break;
      case 'ladder':
        this.#keys.setLadder(id, readBody('ladder', after)?.tiers);
        break;
      case 'provider':
        this.#catalogue.setProvider(id, readBody('provider', after));
        break;
      case 'credential':
        this.#catalogue.setSecret(id, this.#open(after));
        break;
      case 'endpoint':
        this.#catalogue.setEndpoint(readBody('endpoint', before), readBody('endpoint', after));
        break;
      case 'model':
        this.#catalogue.setModel(readBody('model', before), readBody('model', after));
        break;
      case 'alias':
        this.#catalogue.setAlias(id, readBody('alias', before), readBody('alias', after));
        break;
      case 'price_book':
        this.#catalogue.setPriceBook(id, readBody('price_book', after));
        break;
      default:
        kind satisfies never;
    }
  }

  /** A disabled credential is not opened: it must be possible to disable one that nobody can open. */
  #open(body: ConfigBody | undefined): string | undefined {
    if (body?.kind !== 'credential' || !body.value.enabled) return undefined;
    try {
      return openSecret(this.#sealingKey, body.value.id, body.value.sealed);
    } catch {
      throw new EntryRejected('unreadable_credential', 'the sealed secret cannot be opened with this node’s key');
    }
  }
}

export interface SnapshotDiff {
  /** Throws EntryRejected; the entity's last good version stays then. */
  apply(entry: ConfigEntry): 'applied' | 'stale';
  /** Keeps what is held of an entity that the snapshot names but that cannot be taken from it. */
  keep(kind: ConfigKind, id: string): void;
  /** Removes what the snapshot did not name; a step at a time, so that the caller can yield. Returns how many it removed. */
  removeAbsent(): Generator<void, number>;
  /** How many entities stand otherwise than the snapshot says: newer, kept, or refused; counted as they are met. */
  readonly keptNewer: number;
}

type BodyValues = { readonly [Kind in ConfigKind]: Extract<ConfigBody, { readonly kind: Kind }>['value'] };

function readBody<Kind extends ConfigKind>(kind: Kind, body: ConfigBody | undefined): BodyValues[Kind] | undefined {
  // The tag is compared first; a tag that is a type parameter does not narrow the union.
  return body?.kind === kind ? (body.value as BodyValues[Kind]) : undefined;
}

/** Whether an origin lies after the heads of a snapshot: behind none of them, and ahead of one. */
function isAfter(origin: LaneRevisions, heads: LaneRevisions): boolean {
  let ahead = false;
  for (const lane of LANES) {
    const rev = origin[lane];
    if (rev === undefined) continue;
    const head = heads[lane] ?? 0;
    if (rev < head) return false;
    if (rev > head) ahead = true;
  }
  return ahead;
}

function isDenial(body: ConfigBody | undefined): boolean {
  return (body?.kind === 'api_key' || body?.kind === 'account' || body?.kind === 'member') && body.value.status !== 'active';
}

/** The refusal that is held and that the next state does not have, or not as strictly; undefined where there is none. */
function denialOver(kind: ConfigKind, id: string, { body, version }: Held, next: ConfigBody | undefined): Denial | undefined {
  if (body?.kind === 'api_key' && body.value.status !== 'active') {
    const { status } = body.value;
    const isKnown = next?.kind === 'api_key' && (next.value.status === status || next.value.status === 'revoked');
    return isKnown ? undefined : { kind: body.kind, id, version, status };
  }
  if ((body?.kind === 'account' || body?.kind === 'member') && body.value.status !== 'active') {
    const isKnown = next?.kind === kind && isDenial(next);
    return isKnown ? undefined : { kind: body.kind, id, version, status: body.value.status };
  }
  return undefined;
}

function nameOf(kind: ConfigKind, id: string): string {
  return `${kind}/${id}`;
}

/** The body with its use refused; `as` gives the status that a key is refused with. */
function denied(body: ConfigBody | undefined, as?: ConfigBody): ConfigBody | undefined {
  switch (body?.kind) {
    case 'api_key': {
      const status = as?.kind === 'api_key' ? as.value.status : 'disabled';
      return { kind: 'api_key', value: { ...body.value, status } };
    }
    case 'account':
      return { kind: 'account', value: { ...body.value, status: 'disabled' } };
    case 'member':
      return { kind: 'member', value: { ...body.value, status: 'disabled' } };
    default:
      return body;
  }
}
