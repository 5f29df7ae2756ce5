// Reads the command line of the simulated upstream.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { UpstreamOptions } from './server.ts';

export const HELP = `The simulated providers: OpenAI under /v1, OpenRouter under /api/v1, Anthropic under /anthropic/v1, Gemini under /gemini/v1beta.

  node test/upstream/src/main.ts [--port 0] [--host 127.0.0.1] [--journal <file>] [--fixtures <folder>] [--pace <ms>] [--fast]

  --port      port to listen on; 0 (the default) takes a free one
  --host      address to listen on; 127.0.0.1 unless given
  --journal   file that gets one JSON line for every call served
  --fixtures  folder of recordings for the models sim/<name>
  --pace      milliseconds between the pieces of a stream; 2 unless given
  --fast      for benchmarks: no journal, no pacing, repeated requests answered from memory
  --help      this text

The knobs for faults, the journal's fields and the token rule are in test/upstream/README.md.
`;

const RECORDINGS = fileURLToPath(new URL('../../../../shared/fixtures/open', import.meta.url));

function wholeNumber(name: string, value: string, most: number): number {
  const number = Number(value);
  if (value === '' || !Number.isInteger(number) || number < 0 || number > most)
    throw new Error(`--${name} needs a whole number up to ${most}, not '${value}'`);
  return number;
}

/** Turns arguments into options; `help` when they ask for it. Throws an Error with one clear line for a wrong one. */
export function readArguments(given: string[]): UpstreamOptions | 'help' {
  const { values } = parseArgs({
    args: given,
    options: {
      port: { type: 'string', default: '0' },
      host: { type: 'string', default: '127.0.0.1' },
      journal: { type: 'string' },
      fixtures: { type: 'string' },
      pace: { type: 'string' },
      fast: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) return 'help';
  const fixtures = values.fixtures ?? (existsSync(RECORDINGS) ? RECORDINGS : undefined);
  return {
    port: wholeNumber('port', values.port, 65535),
    host: values.host,
    fast: values.fast,
    ...(values.journal === undefined ? {} : { journalPath: values.journal }),
    ...(fixtures === undefined ? {} : { fixturesDir: fixtures }),
    ...(values.pace === undefined ? {} : { paceMs: wholeNumber('pace', values.pace, 60_000) }),
  };
}
