/** All of the catalogue's routes, for operators. */
import type { Routes } from '../http/server.ts';
import { aliasRoutes } from './alias-routes.ts';
import { endpointRoutes } from './endpoint-routes.ts';
import { modelRoutes } from './model-routes.ts';
import { providerRoutes } from './provider-routes.ts';
import type { CatalogService } from './service.ts';

/** Routes for operators. */
export function catalogRoutes(catalog: CatalogService): Routes {
  return (app) => {
    for (const routes of [providerRoutes, modelRoutes, aliasRoutes, endpointRoutes]) routes(catalog)(app);
  };
}
