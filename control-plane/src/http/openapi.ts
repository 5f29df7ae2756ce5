/** The OpenAPI 3.1 document, written from the contracts of the routes that are there. */
import { z } from 'zod';
import { isAuthorizedRoute, routeName } from './authorize.ts';
import type { AnyRouteContract } from './route.ts';

type Json = Record<string, unknown>;

const ERROR_ANSWER = z.object({
  error: z.object({ message: z.string(), type: z.string(), code: z.string(), param: z.string().nullable() }),
});

export interface DocumentInfo {
  /** The product's name. */
  readonly title: string;
  readonly version: string;
}

export function openApiDocument(info: DocumentInfo, contracts: readonly AnyRouteContract[]): Json {
  const paths: Record<string, Json> = {};
  for (const contract of contracts) {
    const path = openApiPath(contract.url);
    const item = paths[path] ?? {};
    item[contract.method.toLowerCase()] = operation(contract);
    paths[path] = item;
  }
  return {
    openapi: '3.1.0',
    info,
    paths,
    components: {
      schemas: { Error: schemaOf(ERROR_ANSWER, 'output') },
      securitySchemes: {
        account: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'An account token.' },
        operator: { type: 'http', scheme: 'bearer', description: 'The token of an operator.' },
      },
    },
  };
}

/** `/v1/keys/:id` → `/v1/keys/{id}`. */
export function openApiPath(url: string): string {
  return url.replace(/:([A-Za-z_]+)/g, '{$1}');
}

function operation(contract: AnyRouteContract): Json {
  const name = routeName(contract.method, contract.url);
  const error = { description: 'An error.', content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } } };
  return {
    operationId: name.replace(/[^A-Za-z0-9]+(.)?/g, (_, next: string | undefined) => next?.toUpperCase() ?? ''),
    summary: contract.summary,
    tags: [isAuthorizedRoute(name) ? 'account' : 'operator'],
    security: [isAuthorizedRoute(name) ? { account: [] } : { operator: [] }],
    parameters: [...parameters('path', contract.params), ...parameters('query', contract.query), ...parameters('header', contract.headers)],
    ...(contract.body === undefined
      ? {}
      : { requestBody: { required: true, content: { 'application/json': { schema: schemaOf(contract.body, 'input') } } } }),
    responses: {
      [String(contract.status ?? 200)]: {
        description: 'Done.',
        content: {
          'application/json': { schema: schemaOf(contract.answer, 'output') },
          ...(contract.alsoProduces === undefined ? {} : { [contract.alsoProduces]: { schema: { type: 'string' } } }),
        },
      },
      default: error,
    },
  };
}

function parameters(place: 'path' | 'query' | 'header', schema: z.ZodType | undefined): Json[] {
  if (schema === undefined) return [];
  const { properties, required } = schemaOf(schema, 'input') as { properties?: Record<string, Json>; required?: string[] };
  return Object.entries(properties ?? {}).map(([name, field]) => ({
    name,
    in: place,
    required: place === 'path' || (required ?? []).includes(name),
    schema: field,
  }));
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return json;
}
