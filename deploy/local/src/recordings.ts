/**
 * Makes recorded exchanges callable by name: the model `sim/<name>` is answered by the simulated providers with the bytes
 * of that recording. The recordings are not part of the project; without their folder there are no such models.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ApiClient, ApiError, listField } from './operator.ts';
import { PROJECT_ROOT } from './process.ts';
import { provisionCredential } from './provision.ts';

/** The same folder as the simulated providers play from. */
export const RECORDINGS_FOLDER = join(PROJECT_ROOT, '../shared/fixtures/open');

/** A provider of its own: the real ones may be real, and a recording must never be asked of them. */
const PROVIDER_ID = 'recordings';
/** One body of the operator API holds no more. */
const MAX_RECORDINGS = 1_000;

/** Whatever a recording counts can be sold. */
const PRICES_USD_PER_MILLION = {
  input: '1.00',
  cached_input: '0.10',
  cache_write_5m: '1.25',
  cache_write_1h: '2.00',
  output: '4.00',
  audio_in: '10.00',
  audio_out: '20.00',
  image_in: '2.00',
  image_out: '30.00',
  per_tool_call: '10000.00',
};

/** The names of the recorded chat exchanges that speak OpenAI's wire, without step and extension; empty without an index. */
export function recordedChats(folder: string): string[] {
  const index = join(folder, 'INDEX.tsv');
  if (!existsSync(index)) return [];
  const [head = '', ...rows] = readFileSync(index, 'utf8').trimEnd().split('\n');
  const columns = head.split('\t');
  const [file, api, streaming] = ['file', 'api', 'streaming'].map((name) => columns.indexOf(name));
  const names = rows.flatMap((row) => {
    const cells = row.split('\t');
    if (cells[api ?? -1] !== 'chat' || !['no', 'sse', 'chunks'].includes(cells[streaming ?? -1] ?? '')) return [];
    const name = /([^/]+?)(?:\.\d+)?\.(?:json|sse|chunks\.txt)$/.exec(cells[file ?? -1] ?? '')?.[1];
    return name === undefined || !/^[A-Za-z0-9][A-Za-z0-9._:-]*$/.test(name) ? [] : [name];
  });
  return [...new Set(names)].sort().slice(0, MAX_RECORDINGS);
}

/** Points the models `sim/<name>` at the simulated providers; what is there already is left as it is. */
export async function provisionRecordings(operator: ApiClient, upstreamUrl: string, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const place = { origin: upstreamUrl, base_path: '/v1', enabled: true };
  if (await isThere(operator)) await operator.patch(`/admin/v1/providers/${PROVIDER_ID}`, place);
  else await operator.post('/admin/v1/providers', { id: PROVIDER_ID, name: 'Recorded exchanges', ...place });
  await provisionCredential(operator, PROVIDER_ID, 'sk-simulated-recordings');
  const present = listField(await operator.get(`/admin/v1/endpoints?provider_id=${PROVIDER_ID}&limit=${MAX_RECORDINGS}`));
  const known = new Set(present.map((endpoint) => endpoint.upstream_model));
  const models = names.map((name) => `sim/${name}`).filter((model) => !known.has(model));
  if (models.length === 0) return;
  const cards = [{ prices_usd_per_million: PRICES_USD_PER_MILLION }];
  await operator.post('/admin/v1/models', {
    data: models.map((id) => ({ id, vendor: 'sim', name: `Recording ${id.slice('sim/'.length)}`.slice(0, 100), input: ['text', 'image'] })),
  });
  await operator.post('/admin/v1/list-prices', { data: models.map((id) => ({ model_id: id, cards })) });
  await operator.post('/admin/v1/endpoints', {
    data: models.map((id) => ({ model_id: id, provider_id: PROVIDER_ID, upstream_model: id, cost: cards })),
  });
}

/** Without simulated providers nobody plays the recordings. */
export async function switchOffRecordings(operator: ApiClient): Promise<void> {
  if (await isThere(operator)) await operator.patch(`/admin/v1/providers/${PROVIDER_ID}`, { enabled: false });
}

async function isThere(operator: ApiClient): Promise<boolean> {
  try {
    await operator.get(`/admin/v1/providers/${PROVIDER_ID}`);
    return true;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return false;
    throw error;
  }
}
