/** `generate: false`: a request that is only made ready. No provider is called, and nothing is charged. */
import type { Exchange, Reply } from '../../exchange.ts';
import type { Rooms } from '../../pipeline.ts';

/** Answers with a response that is complete and empty. Throws the errors that the request itself would get before it is admitted. */
export function prewarm(rooms: Pick<Rooms, 'plan'>, exchange: Exchange, reply: Pick<Reply, 'open' | 'finish'>): void {
  const { dialect, principal, requestId, arrivedMs } = exchange;
  const { facts } = dialect.readPassThrough(exchange.operation, exchange.body, exchange.place);
  const plan = rooms.plan(facts, principal, arrivedMs);
  const createdSeconds = Math.floor(arrivedMs / 1000);
  const encoder = dialect.encodeStream({
    requestId,
    wantsStreamUsage: true,
    model: facts.model,
    createdSeconds,
    request: dialect.decodeRequest(exchange.body, exchange.place, facts),
  });
  const events = encoder.push([
    { type: 'start', id: requestId, createdSeconds, model: plan.model.id, rest: {} },
    { type: 'finish', choice: 0, finish: { reason: 'stop', raw: 'stop' } },
    { type: 'end' },
  ]);
  reply.open(undefined);
  reply.finish([...events, ...encoder.end(undefined)]);
}
