/** A vector as this dialect writes it: numbers, or the base64 of little-endian float32. */

export type VectorEncoding = 'float' | 'base64';

const FLOAT_BYTES = 4;

/** Empty for what is no vector. */
export function readVector(embedding: unknown): readonly number[] {
  if (Array.isArray(embedding)) return embedding.filter((value) => typeof value === 'number');
  if (typeof embedding !== 'string') return [];
  const bytes = Buffer.from(embedding, 'base64');
  return Array.from({ length: Math.floor(bytes.length / FLOAT_BYTES) }, (_, index) => bytes.readFloatLE(index * FLOAT_BYTES));
}

export function writeVector(vector: readonly number[], encoding: VectorEncoding): unknown {
  if (encoding === 'float') return vector;
  const bytes = Buffer.allocUnsafe(vector.length * FLOAT_BYTES);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, index * FLOAT_BYTES);
  return bytes.toString('base64');
}
