/** Tools that a provider runs, or has taught its models to use, where another one is asked: nobody can stand in for it. */
import type { GatewayError } from '@meridian/domain/error';
import type { HostedTool } from '../canonical/tool.ts';
import { invalid, text } from './json.ts';

const MAX_NAME_CHARACTERS = 128;

/** The refusal, 400, which names the tool as its own dialect does. */
export function refusedTool({ value }: HostedTool): GatewayError {
  const name = (text(value.type) ?? Object.keys(value)[0] ?? 'unknown').slice(0, MAX_NAME_CHARACTERS);
  return invalid(`The tool '${name}' is another provider's own and cannot be used with this model.`, 'tools');
}
