/** What goes wrong, and what people change meanwhile: drawn one by one while a run is in its active phase. */
import type { Simulation } from './simulation.ts';

interface Fault {
  readonly name: string;
  readonly weight: number;
  readonly strike: (simulation: Simulation) => void;
}

const FAULTS: readonly Fault[] = [
  { name: 'kill a node', weight: 4, strike: (it) => it.killNode(it.dice.chance(0.6) ? it.dice.between(1, 40) : 0) },
  { name: 'cut the power of a node', weight: 3, strike: (it) => it.cutPower() },
  { name: 'kill the control plane', weight: 2, strike: (it) => it.killControl(it.dice.chance(0.6) ? it.dice.between(1, 40) : 0) },
  { name: 'partition', weight: 4, strike: (it) => it.partition() },
  { name: 'break streams', weight: 4, strike: (it) => it.breakStreams() },
  { name: 'slow a wire', weight: 2, strike: (it) => it.slowWire() },
  { name: 'fail syncs', weight: 2, strike: (it) => it.failSyncs() },
  { name: 'fail writes', weight: 2, strike: (it) => it.failWrites() },
  { name: 'fill a disk', weight: 2, strike: (it) => it.fillDisk() },
  { name: 'step a clock', weight: 2, strike: (it) => it.stepClock() },
  { name: 'empty the store of idempotency keys', weight: 4, strike: (it) => it.emptyStore() },
  { name: 'lose the store of idempotency keys', weight: 3, strike: (it) => it.loseStore() },
  { name: 'stop a node', weight: 2, strike: (it) => it.stopNode() },
];

const CHANGES: readonly Fault[] = [
  { name: 'change a cap', weight: 6, strike: (it) => it.changeCap() },
  { name: 'change credit', weight: 4, strike: (it) => it.changeCredit() },
  { name: 'change the price', weight: 1, strike: (it) => it.changePrice() },
  { name: 'change a tier', weight: 2, strike: (it) => it.changeTier() },
  { name: 'rename a key', weight: 2, strike: (it) => it.renameKey() },
  { name: 'revoke a key', weight: 1, strike: (it) => it.revokeKey() },
];

export function strike(simulation: Simulation): void {
  draw(simulation, FAULTS);
}

export function change(simulation: Simulation): void {
  draw(simulation, CHANGES);
}

function draw(simulation: Simulation, faults: readonly Fault[]): void {
  let at = simulation.dice.random() * faults.reduce((sum, fault) => sum + fault.weight, 0);
  for (const fault of faults) {
    at -= fault.weight;
    if (at >= 0) continue;
    simulation.timeline.note(fault.name);
    fault.strike(simulation);
    return;
  }
}
