/** `GET /v1/models`: what this key can call now. */
import type { Region } from '@meridian/domain/region';
import type { Principal } from '../admission/authenticate.ts';
import type { Catalogue } from '../routing/catalogue.ts';
import { callableModel, callableModels } from './callable-models.ts';
import { type OpenaiModel, openaiModel, openaiModels } from './models-openai.ts';

export function listModels(catalogue: Catalogue, principal: Principal, region: Region, nowMs: number): { data: OpenaiModel[] } {
  return openaiModels(callableModels(catalogue, principal, region, nowMs));
}

/** By any of its names; throws 404 `model_not_found`. */
export function retrieveModel(catalogue: Catalogue, name: string, principal: Principal, region: Region, nowMs: number): OpenaiModel {
  return openaiModel(callableModel(catalogue, name, principal, region, nowMs));
}
