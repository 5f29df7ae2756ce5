/**
 * The records in the region's Redis, shared by its nodes. Each script is one transition of the state machine in record.ts, on a hash:
 * s state · o owner · f fingerprint · r request id · a sealed answer (base64) · w why there is a receipt only. The expiry is the key's own.
 */
import { createHash } from 'node:crypto';
import { type Claim, type Finding, KEPT_MS, type Kept, LEASE_MS, type ReceiptReason, SETTLING_MS } from './record.ts';
import type { RecordStore } from './store.ts';

/** What is used of a connection; satisfied by the client of the region's Redis. */
interface CommandRunner {
  evalsha(sha1: string, keys: number, ...args: string[]): Promise<unknown>;
  eval(script: string, keys: number, ...args: string[]): Promise<unknown>;
}

/** Rejects when Redis is away. */
interface SharedRedis {
  run<T>(command: (redis: CommandRunner) => Promise<T>, timeoutMs: number): Promise<T>;
}

/** A megabyte goes over the line in it as well. */
const ANSWER_WITHIN_MS = 1_000;

interface Script {
  readonly text: string;
  readonly sha1: string;
}

function script(text: string): Script {
  return { text, sha1: createHash('sha1').update(text).digest('hex') };
}

/** Takes owner, fingerprint, request id. */
const CLAIM = script(`
local found = redis.call('HMGET', KEYS[1], 's', 'o', 'f', 'r')
local state = found[1]
if not state or (state == 'running' and found[2] == ARGV[1]) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 's', 'running', 'o', ARGV[1], 'f', ARGV[2], 'r', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ${LEASE_MS})
  return {'claimed'}
end
if found[3] ~= ARGV[2] then return {'other_body'} end
if state == 'running' then return {'running', found[4]} end
if state == 'settling' then
  if redis.call('PTTL', KEYS[1]) > ${KEPT_MS - SETTLING_MS} then return {'running', found[4]} end
  return {'receipt', found[4], 'unsettled'}
end
if state == 'answer' then return {'answer', found[4], redis.call('HGET', KEYS[1], 'a')} end
return {'receipt', found[4], redis.call('HGET', KEYS[1], 'w')}
`);

/** Takes owner, fingerprint, request id. */
const SETTLE = script(`
local found = redis.call('HMGET', KEYS[1], 's', 'o')
local state = found[1]
if state and found[2] ~= ARGV[1] then return 0 end
if state and state ~= 'running' then return 1 end
redis.call('HSET', KEYS[1], 's', 'settling', 'o', ARGV[1], 'f', ARGV[2], 'r', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ${KEPT_MS})
return 1
`);

/** Takes owner, fingerprint, request id, answer or receipt, the sealed answer or the reason. */
const KEEP = script(`
local found = redis.call('HMGET', KEYS[1], 's', 'o')
local state = found[1]
if state and found[2] ~= ARGV[1] then return 0 end
if state == 'answer' or state == 'receipt' then return 1 end
redis.call('HSET', KEYS[1], 's', ARGV[4], 'o', ARGV[1], 'f', ARGV[2], 'r', ARGV[3], ARGV[4] == 'answer' and 'a' or 'w', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ${KEPT_MS})
return 1
`);

/** Takes the owner. */
const RELEASE = script(`
local found = redis.call('HMGET', KEYS[1], 's', 'o')
if found[2] == ARGV[1] and (found[1] == 'running' or found[1] == 'settling') then redis.call('DEL', KEYS[1]) end
return 1
`);

export class RedisStore implements RecordStore {
  readonly #redis: SharedRedis;

  constructor(redis: SharedRedis) {
    this.#redis = redis;
  }

  async claim(name: string, by: Claim): Promise<Finding> {
    const answer = await this.#run(CLAIM, name, [by.owner, by.fingerprint, by.requestId]);
    const [kind, requestId = '', rest = ''] = answer as readonly string[];
    switch (kind) {
      case 'claimed':
        return { kind };
      case 'other_body':
        return { kind };
      case 'running':
        return { kind, requestId };
      case 'answer':
        return { kind, requestId, sealed: Buffer.from(rest, 'base64') };
      case 'receipt':
        return { kind, requestId, reason: rest as ReceiptReason };
      default:
        throw new Error('the script that claims an idempotency key gave an answer that it cannot give');
    }
  }

  async settle(name: string, by: Claim): Promise<boolean> {
    return (await this.#run(SETTLE, name, [by.owner, by.fingerprint, by.requestId])) === 1;
  }

  async keep(name: string, by: Claim, kept: Kept): Promise<boolean> {
    const content = kept.kind === 'answer' ? kept.sealed.toString('base64') : kept.reason;
    return (await this.#run(KEEP, name, [by.owner, by.fingerprint, by.requestId, kept.kind, content])) === 1;
  }

  async release(name: string, owner: string): Promise<void> {
    await this.#run(RELEASE, name, [owner]);
  }

  #run({ sha1, text }: Script, name: string, args: readonly string[]): Promise<unknown> {
    return this.#redis.run(async (redis) => {
      try {
        return await redis.evalsha(sha1, 1, name, ...args);
      } catch (thrown) {
        // A server that was started anew does not know the scripts.
        if (!(thrown instanceof Error) || !thrown.message.startsWith('NOSCRIPT')) throw thrown;
        return redis.eval(text, 1, name, ...args);
      }
    }, ANSWER_WITHIN_MS);
  }
}
