/** Credentials of providers, for operators. The secret goes in and never comes out. */
import { z } from 'zod';
import { ID, NAME, TIME_OUT, time } from '../http/field.ts';
import { listedWhole, listOf } from '../http/paginate.ts';
import { addRoute } from '../http/route.ts';
import type { Routes } from '../http/server.ts';
import { type CredentialRow, MAX_SECRET_CHARS } from './credential.ts';
import type { CredentialService } from './service.ts';

const CREDENTIAL = z.object({
  id: z.string(),
  object: z.literal('credential'),
  provider_id: z.string(),
  name: z.string(),
  last_four: z.string(),
  enabled: z.boolean(),
  created_at: TIME_OUT,
});

/** It is sent as a header, so it must be able to be one. */
const SECRET = z
  .string()
  .min(1)
  .max(MAX_SECRET_CHARS)
  .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces');

/** Routes for operators. */
export function credentialRoutes(credentials: CredentialService): Routes {
  return (app) => {
    addRoute(
      app,
      { method: 'GET', url: '/admin/v1/credentials', summary: 'List credentials, without their secrets.', answer: listOf(CREDENTIAL) },
      async () => listedWhole((await credentials.list()).map(present)),
    );
    addRoute(
      app,
      {
        method: 'POST',
        url: '/admin/v1/credentials',
        trail: { kind: 'credential' },
        summary: "Make a credential; a provider's first one becomes its default.",
        status: 201,
        body: z.strictObject({ provider_id: ID, name: NAME.optional(), secret: SECRET, default: z.boolean().default(false) }),
        answer: CREDENTIAL,
      },
      async ({ body }) =>
        present(
          await credentials.create({
            providerId: body.provider_id,
            name: body.name ?? body.provider_id,
            secret: body.secret,
            makeDefault: body.default,
          }),
        ),
    );
    addRoute(
      app,
      {
        method: 'PATCH',
        url: '/admin/v1/credentials/:id',
        trail: { kind: 'credential', id: 'id' },
        summary: 'Rename, replace, switch on or off a credential, or make it the default of its provider.',
        params: z.strictObject({ id: ID }),
        body: z.strictObject({
          name: NAME.optional(),
          secret: SECRET.optional(),
          enabled: z.boolean().optional(),
          default: z.literal(true).optional(),
        }),
        answer: CREDENTIAL,
      },
      async ({ params, body: { default: makeDefault, ...rest } }) => present(await credentials.change(params.id, { ...rest, makeDefault })),
    );
  };
}

function present(row: CredentialRow): z.infer<typeof CREDENTIAL> {
  const { id, provider_id, name, last_four, enabled } = row;
  return { id, object: 'credential', provider_id, name, last_four, enabled, created_at: time(row.created_at) };
}
