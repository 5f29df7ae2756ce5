/** Where each operation can be asked for, in every dialect. */
import { OPERATIONS, type Operation } from '@meridian/domain/dialect';
import { METHODS } from './gemini/model-list.ts';
import { COUNT_PATH, METHOD_PATHS, MODEL_PATHS } from './place.ts';

const ENDPOINTS = new Map(OPERATIONS.map((operation) => [operation, endpointsFor(operation)]));

/** Paths, `{model}` for the name of a model. */
export function endpointsOf(operation: Operation): readonly string[] {
  return ENDPOINTS.get(operation) ?? [];
}

function endpointsFor(operation: Operation): string[] {
  const [methodPath = ''] = METHOD_PATHS;
  return [
    ...MODEL_PATHS.filter((entry) => entry.operation === operation).map(({ path }) => path),
    ...(operation === 'chat' ? [COUNT_PATH] : []),
    ...METHODS[operation].map((method) => methodPath.replace('*', `{model}:${method}`)),
  ];
}
