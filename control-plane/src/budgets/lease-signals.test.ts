import { describe, expect, it } from 'vitest';
import { MAX_PAYLOAD_BYTES, type Notifications, type NotificationsOptions } from '../database/notifications.ts';
import { LeaseSignals } from './lease-signals.ts';
import type { LeaseSignal } from './questions.ts';

/** Carries words between replicas in this process, as the server does: to all of them, the sender included. */
class Wire {
  readonly payloads: string[] = [];
  readonly #listeners: ((payload: string) => void)[] = [];
  broken = false;

  readonly start = ({ onMessage }: NotificationsOptions): Notifications => {
    this.#listeners.push(onMessage);
    return {
      listening: true,
      publish: async (payload) => {
        await new Promise((resolve) => setImmediate(resolve));
        if (this.broken) throw new Error('broken');
        this.payloads.push(payload);
        for (const listen of this.#listeners) listen(payload);
      },
      close: async () => undefined,
    };
  };
}

function replica(wire: Wire, replicaId: string) {
  const heard: LeaseSignal[] = [];
  const errors: Error[] = [];
  const options = {
    url: '',
    replicaId,
    onSignal: (signal: LeaseSignal) => heard.push(signal),
    onError: (error: Error) => errors.push(error),
  };
  return { signals: new LeaseSignals(options, wire.start), heard, errors };
}

const recall = (recallId: number): LeaseSignal => ({ type: 'recall', recallId, spoolId: 'spl_1', leaseId: 'f'.repeat(32), retire: false });

describe('signals', () => {
  it('of one moment travel together, to the others only', async () => {
    const wire = new Wire();
    const [a, b] = [replica(wire, 'a'), replica(wire, 'b')];
    for (let id = 1; id <= 20; id++) a.signals.publish(recall(id));
    await a.signals.close();
    expect(b.heard).toEqual(Array.from({ length: 20 }, (_, index) => recall(index + 1)));
    expect(a.heard).toEqual([]);
    expect(wire.payloads).toHaveLength(1);
  });

  it('are split where they do not fit', async () => {
    const wire = new Wire();
    const [a, b] = [replica(wire, 'a'), replica(wire, 'b')];
    const budgetIds = Array.from({ length: 333 }, (_, index) => `cap_01KAJ3ABCDEFGHJKMNPQRSTVWX${index}@1782864000000`);
    a.signals.publish({ type: 'room', budgetIds, givenBackBy: 'spl_1' });
    for (let id = 1; id <= 500; id++) a.signals.publish(recall(id));
    await a.signals.close();
    const rooms = b.heard.filter((signal) => signal.type === 'room');
    expect(rooms.flatMap((signal) => signal.budgetIds)).toEqual(budgetIds);
    expect(new Set(rooms.map((signal) => signal.givenBackBy))).toEqual(new Set(['spl_1']));
    expect(b.heard.filter((signal) => signal.type === 'recall')).toHaveLength(500);
    for (const payload of wire.payloads) expect(Buffer.byteLength(payload)).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES);
    expect(wire.payloads.length).toBeLessThan(20);
  });

  it('that are lost are told, and those after them are sent', async () => {
    const wire = new Wire();
    const [a, b] = [replica(wire, 'a'), replica(wire, 'b')];
    wire.broken = true;
    a.signals.publish(recall(1));
    await new Promise((resolve) => setTimeout(resolve, 20));
    wire.broken = false;
    a.signals.publish(recall(2));
    await a.signals.close();
    expect(a.errors).toHaveLength(1);
    expect(b.heard).toEqual([recall(2)]);
  });

  it('of a newer build, or none at all, do no harm', async () => {
    const wire = new Wire();
    const a = replica(wire, 'a');
    const { publish } = wire.start({ url: '', channel: '', onMessage: () => undefined, onError: () => undefined });
    await publish('not json');
    await publish(JSON.stringify({ from: 'b', signals: [{ type: 'something_new' }, recall(3)] }));
    expect(a.errors).toHaveLength(1);
    expect(a.heard).toEqual([recall(3)]);
  });
});
