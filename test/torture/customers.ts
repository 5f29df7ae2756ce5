/** The customers of the arena: an account of one person, and a team whose members have caps of their own; keys with caps that are nearly used up. */
import { ApiClient, type Json, textField } from '@meridian/local/operator';
import { provisionAccount } from '@meridian/local/provision';

export type CapScope = 'account' | 'member' | 'key';

/** A daily cap that its owner raises when it is used up. */
export interface Cap {
  readonly scope: CapScope;
  readonly id: string;
  readonly stepUsd: number;
  /** The highest limit it ever had. */
  limitUsd: number;
}

export interface CustomerKey {
  readonly id: string;
  readonly key: string;
  readonly accountId: string;
  readonly caps: Readonly<Record<CapScope, Cap | undefined>>;
  /** As its owner, at the first replica of the control plane and at the other. */
  readonly owner: readonly ApiClient[];
}

export interface CustomersOptions {
  readonly operator: ApiClient;
  /** Of both replicas. */
  readonly controlUrls: readonly string[];
  readonly creditUsd: string;
  readonly keys: number;
}

/** What one request can cost at most is less, and some hundred cost that much. */
const STEP_USD: Readonly<Record<CapScope, number>> = { key: 0.03, member: 0.06, account: 0.12 };
/** Of one key, which is refused for it now and then. */
const REQUESTS_PER_MINUTE = 20;
const RAISE_TRIES = 20;
const RAISE_AGAIN_MS = 250;

export class Customers {
  readonly accountIds: readonly string[];
  readonly keys: readonly CustomerKey[];
  readonly caps: readonly Cap[];
  readonly #raising = new Map<Cap, Promise<void>>();

  private constructor(keys: readonly CustomerKey[]) {
    this.keys = keys;
    this.accountIds = [...new Set(keys.map(({ accountId }) => accountId))];
    this.caps = [...new Set(keys.flatMap(({ caps }) => Object.values(caps).filter((cap) => cap !== undefined)))];
  }

  static async make({ operator, controlUrls, creditUsd, keys: count }: CustomersOptions): Promise<Customers> {
    const clients = (token: string): ApiClient[] => controlUrls.map((url) => new ApiClient(url, token));
    const alone = await provisionAccount(operator, 'Alone', creditUsd, 'unlimited');
    const team = await provisionAccount(operator, 'Team', creditUsd, 'unlimited');
    const makers: Omit<CustomerKey, 'id' | 'key'>[] = [];
    const none = { account: undefined, member: undefined, key: undefined };
    makers.push({ accountId: alone.accountId, owner: clients(alone.accountToken), caps: none });
    const account = newCap('account', team.accountId);
    const [teamOwner] = clients(team.accountToken);
    await teamOwner?.patch(pathOf(account), changeTo(account));
    for (const name of ['First', 'Second']) {
      const member = await operator.post(`/admin/v1/accounts/${team.accountId}/members`, { name, role: 'member' });
      const cap = newCap('member', textField(member, 'id'));
      await teamOwner?.patch(pathOf(cap), changeTo(cap));
      const token = await operator.post(`/admin/v1/accounts/${team.accountId}/tokens`, { member_id: cap.id });
      makers.push({
        accountId: team.accountId,
        owner: clients(textField(token, 'token')),
        caps: { ...none, account, member: cap },
      });
    }
    const keys: CustomerKey[] = [];
    for (let index = 0; index < count; index++) {
      const maker = makers[index % makers.length];
      const [first] = maker?.owner ?? [];
      if (maker === undefined || first === undefined) throw new Error('nobody makes keys');
      const isLimited = index === makers.length;
      const made = await first.post('/v1/keys', {
        name: `torture ${index}`,
        caps: { daily_usd: STEP_USD.key },
        ...(isLimited ? { rate_limits: { requests_per_minute: REQUESTS_PER_MINUTE } } : {}),
      });
      const id = textField(made, 'id');
      keys.push({ ...maker, id, key: textField(made, 'key'), caps: { ...maker.caps, key: newCap('key', id) } });
    }
    // Caps above the key's are the team's to raise.
    const teamClients = clients(team.accountToken);
    return new Customers(keys.map((key) => (key.accountId === team.accountId ? { ...key, owner: teamClients } : key)));
  }

  /** The owner raises a cap that was in the way, and tries at both replicas until one takes it. One at a time a cap. */
  async raise(key: CustomerKey, scope: CapScope): Promise<void> {
    const cap = key.caps[scope];
    if (cap === undefined) return;
    const running = this.#raising.get(cap);
    if (running !== undefined) return running;
    const raised = raiseNow(cap, key.owner).finally(() => this.#raising.delete(cap));
    this.#raising.set(cap, raised);
    return raised;
  }
}

function newCap(scope: CapScope, id: string): Cap {
  return { scope, id, stepUsd: STEP_USD[scope], limitUsd: STEP_USD[scope] };
}

function pathOf({ scope, id }: Cap): string {
  switch (scope) {
    case 'account':
      return '/v1/account';
    case 'member':
      return `/v1/account/members/${id}`;
    case 'key':
      return `/v1/keys/${id}`;
    default:
      return scope satisfies never;
  }
}

function changeTo({ limitUsd }: Cap): Json {
  return { caps: { daily_usd: limitUsd } };
}

async function raiseNow(cap: Cap, owner: readonly ApiClient[]): Promise<void> {
  // Whether it was taken is not known when the connection breaks: the higher limit is what counts from now on.
  cap.limitUsd = Math.round((cap.limitUsd + cap.stepUsd) * 1_000) / 1_000;
  for (let attempt = 0; attempt < RAISE_TRIES; attempt++) {
    try {
      await owner[attempt % owner.length]?.patch(pathOf(cap), changeTo(cap));
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RAISE_AGAIN_MS));
    }
  }
}
