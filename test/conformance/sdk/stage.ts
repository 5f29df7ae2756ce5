/** The world of the suites of client libraries: every vendor's own protocol behind it, and somebody without credit in it. */
import { ApiClient, textField } from '@meridian/local/operator';
import { keyWorks, provisionKey } from '@meridian/local/provision';
import { ALL_PROVIDERS, type RegionName, until, World } from '../../world/world.ts';

/** Streams that their clients have left are read on for so long: long enough to have generated something, and cut then. */
const ABANDONED_STREAM_MS = 300;
const TOKEN_SECONDS = 3_600;

export interface Stage {
  readonly world: World;
  /** Where its clients call. */
  readonly region: RegionName;
  /** A key of an account without credit. */
  readonly poorKey: string;
}

export async function startStage(region: RegionName): Promise<Stage> {
  const world = await World.start({
    providers: ALL_PROVIDERS,
    nodeEnv: { MERIDIAN_MAX_ABANDONED_STREAM_MS: String(ABANDONED_STREAM_MS) },
  });
  const poor = textField(await world.operator.post('/admin/v1/accounts', { name: 'Poor', plan_id: 'unlimited' }), 'id');
  const token = await world.operator.post(`/admin/v1/accounts/${poor}/tokens`, { expires_in_seconds: TOKEN_SECONDS });
  const poorKey = await provisionKey(new ApiClient(world.controlUrl, textField(token, 'token')), 'poor');
  await until(() => keyWorks(world.url(region), poorKey), 'the key without credit to be known');
  return { world, region, poorKey };
}
