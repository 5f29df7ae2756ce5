/** Everything that is left to chance, from one seed. */
import { pick, seededRandom } from '../random.ts';

export class Dice {
  /** In [0, 1). */
  readonly random: () => number;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    // Neighbouring seeds begin alike.
    for (let round = 0; round < 8; round++) this.random();
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  /** An integer from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.random() * (most - least + 1));
  }

  /** Mostly near the mean, now and then far above it. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.random());
  }

  pick<T>(items: readonly T[]): T {
    return pick(items, this.random());
  }

  bytes(count: number): Uint8Array {
    const bytes = Buffer.alloc(count);
    for (let index = 0; index < count; index++) bytes[index] = this.random() * 256;
    return bytes;
  }

  /** `count` hexadecimal digits. */
  hex(count: number): string {
    let text = '';
    while (text.length < count)
      text += Math.floor(this.random() * 0x1_0000_0000)
        .toString(16)
        .padStart(8, '0');
    return text.slice(0, count);
  }

  /** Another source of chance, so that what is drawn there does not shift what is drawn here. */
  fork(): Dice {
    return new Dice(Math.floor(this.random() * 0x1_0000_0000));
  }
}
