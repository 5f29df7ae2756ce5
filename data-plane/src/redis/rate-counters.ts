/**
 * The rate limits of a region's keys in its Redis: for each key a hash of buckets and a hash of what each node has under way, both in one
 * slot of a cluster. One script brings a key up to date; all keys of a message travel together.
 *
 * All sums are integers below 2^53, which Lua holds exactly. Time is Redis' own, so nodes' clocks need not agree. What Redis does not
 * know, because it was wiped or the key is new, begins at the level that the node has.
 */
import type { Redis, RegionRedis } from './client.ts';

/** A token bucket as a node tells of it; levels are 60,000ths of a token. */
export interface CountedBucket {
  readonly name: string;
  readonly limit: number;
  readonly taken: number;
  readonly level: number;
}

export interface CountedKey {
  readonly keyId: string;
  /** Ascending for each node and key; what comes under a number again is not counted again. */
  readonly seq: number;
  readonly buckets: readonly CountedBucket[];
  readonly running: readonly { readonly name: string; readonly count: number }[];
}

export interface CountedStanding {
  readonly levels: readonly number[];
  readonly elsewhere: readonly number[];
}

const TIMEOUT_MS = 50;
const UNITS = 60_000;
const MOST_DEBT_MINUTES = 10;
/** Longer than any debt lasts; a bucket that nobody has touched for so long is full. */
const KEEP_MS = (MOST_DEBT_MINUTES + 1) * 60_000;
/** What a node said is under way there is believed for so long: it may have died. */
const RUNNING_FOR_MS = 3_000;

/** The last number of what a node told is known for so long: then nothing of it can be on its way any more. */
const SEQ_FOR_MS = 60_000;

const SHARE = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 3
local function take() at = at + 1 return ARGV[at] end
local answer = {}
local found = redis.call('HGETALL', KEYS[2])
local elsewhere, last = {}, 0
for i = 1, #found, 2 do
  local name, node = string.match(found[i], '^(.*)|(.-)$')
  local value, said = string.match(found[i + 1], '^(%d+)@(%d+)$')
  if now - tonumber(said) > (name == 'seq' and ${SEQ_FOR_MS} or ${RUNNING_FOR_MS}) then
    redis.call('HDEL', KEYS[2], found[i])
  elseif name == 'seq' then
    if node == ARGV[1] then last = tonumber(value) end
  elseif node ~= ARGV[1] then
    elsewhere[name] = (elsewhere[name] or 0) + tonumber(value)
  end
end
local heard = tonumber(ARGV[2]) <= last
redis.call('HSET', KEYS[2], 'seq|' .. ARGV[1], math.max(last, tonumber(ARGV[2])) .. '@' .. string.format('%.0f', now))
local bucketCount = tonumber(ARGV[3])
for i = 1, bucketCount do
  local name, limit, taken, view = take(), tonumber(take()), tonumber(take()), tonumber(take())
  if heard then taken = 0 end
  local most = math.max(${UNITS}, limit * ${UNITS})
  local known = redis.call('HMGET', KEYS[1], name .. '|level', name .. '|at', name .. '|limit')
  local level = tonumber(known[1])
  if level then
    level = level + (limit - tonumber(known[3])) * ${UNITS}
    local passed = math.max(0, math.min(now - tonumber(known[2]), ${KEEP_MS}))
    level = math.min(most, level + passed * limit)
  else
    level = math.min(most, view)
  end
  level = math.max(-${MOST_DEBT_MINUTES} * most, math.min(most, level - taken))
  local text = string.format('%.0f', level)
  redis.call('HSET', KEYS[1], name .. '|level', text, name .. '|at', string.format('%.0f', now), name .. '|limit', string.format('%.0f', limit))
  answer[#answer + 1] = text
end
if bucketCount > 0 then redis.call('PEXPIRE', KEYS[1], ${KEEP_MS}) end
for i = 1, tonumber(take()) do
  local name, count = take(), take()
  if count == '0' then
    redis.call('HDEL', KEYS[2], name .. '|' .. ARGV[1])
  else
    redis.call('HSET', KEYS[2], name .. '|' .. ARGV[1], count .. '@' .. string.format('%.0f', now))
  end
  answer[#answer + 1] = string.format('%.0f', elsewhere[name] or 0)
end
redis.call('PEXPIRE', KEYS[2], ${KEEP_MS})
return answer
`;

export class RateCounters {
  readonly #redis: RegionRedis;
  readonly #node: string;
  readonly #prefix: string;

  /** `node` is one boot of a node, without `|`: what is told begins with 1 in each. */
  constructor(options: { readonly redis: RegionRedis; readonly region: string; readonly node: string }) {
    this.#redis = options.redis;
    this.#node = options.node;
    this.#prefix = `mrd:rate:${options.region}`;
  }

  get away(): boolean {
    return this.#redis.away;
  }

  /** Rejects with RedisAway. What part of it was counted is not known then, and it may be told again under its numbers. */
  share(keys: readonly CountedKey[]): Promise<CountedStanding[]> {
    return this.#redis.run((redis) => Promise.all(keys.map((key) => this.#shareOne(redis, key))), TIMEOUT_MS);
  }

  async #shareOne(redis: Redis, { keyId, seq, buckets, running }: CountedKey): Promise<CountedStanding> {
    const slot = `${this.#prefix}:{${keyId}}`;
    const answer = await shareScript(redis)(
      [`${slot}:buckets`, `${slot}:running`],
      [
        this.#node,
        seq,
        buckets.length,
        ...buckets.flatMap(({ name, limit, taken, level }) => [name, limit, taken, level]),
        running.length,
        ...running.flatMap(({ name, count }) => [name, count]),
      ],
    );
    return { levels: answer.slice(0, buckets.length), elsewhere: answer.slice(buckets.length) };
  }
}

type Script = (keys: readonly string[], values: readonly (string | number)[]) => Promise<number[]>;

const scripts = new WeakMap<Redis, Script>();

/** Sent by its digest; whole to a server that does not know it. */
function shareScript(redis: Redis): Script {
  const known = scripts.get(redis);
  if (known !== undefined) return known;
  redis.defineCommand('meridianShareRates', { numberOfKeys: 2, lua: SHARE });
  // The client adds the command to itself under its name, which its type cannot know.
  const command = (redis as unknown as Record<string, (...parts: (string | number)[]) => Promise<string[]>>).meridianShareRates;
  if (command === undefined) throw new Error('the script was not defined');
  const script: Script = async (keys, values) => (await command.call(redis, ...keys, ...values)).map(Number);
  scripts.set(redis, script);
  return script;
}
