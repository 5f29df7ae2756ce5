// The vectors of embedding answers, which depend on nothing but the input.

import { hash32, seededRandom } from './seeded.ts';

/** A unit vector of float32, the same for the same input, model and length. */
export function unitVector(model: string, input: string | number[], dimensions: number): Float32Array {
  const random = seededRandom(hash32(`${model} ${typeof input === 'string' ? input : JSON.stringify(input)}`));
  const raw = Array.from({ length: dimensions }, () => random() * 2 - 1);
  const norm = Math.sqrt(raw.reduce((sum, value) => sum + value * value, 0));
  return Float32Array.from(raw, (value) => value / norm);
}
