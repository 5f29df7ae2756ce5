import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { refuseTakenPorts } from './ports.ts';
import { readSettings } from './settings.ts';
import { Place } from './testing.ts';

describe('the ports of the local world', () => {
  it.each([
    [0, 'control plane'],
    [1, 'control plane gRPC'],
    [2, 'control plane health'],
    [10, 'node us'],
    [11, 'node us health'],
    [20, 'node eu'],
    [21, 'node eu health'],
    [30, 'PostgreSQL'],
    [40, 'simulated providers'],
  ])('base + %i taken: names it as that of %s', async (offset, name) => {
    const place = await Place.make();
    const port = place.portBase + offset;
    const holder = createServer();
    await new Promise<void>((resolve) => holder.listen(port, '127.0.0.1', resolve));
    try {
      const settings = readSettings(['--port-base', String(place.portBase)], {});
      if (settings === 'help') throw new Error('help');
      await expect(refuseTakenPorts(settings, true)).rejects.toThrow(`Port ${port} (${name}) is taken.`);
      // What is not started needs no port.
      const needless = { ...settings, databaseUrl: 'postgres://h/d' };
      if (offset >= 30) await refuseTakenPorts(needless, false);
    } finally {
      await new Promise((resolve) => holder.close(resolve));
      place.remove();
    }
  });
});
