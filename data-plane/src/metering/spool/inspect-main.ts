/** `npm run spool`: looks into the spool folder of a node, which may be running. */
import { parseArgs } from 'node:util';
import { nodeDisk } from './disk.ts';
import { inspectFolder, type RecordVisitor } from './inspect.ts';
import { jsonOf, recordLine, reportLines } from './inspect-text.ts';
import type { SpoolRecord } from './record.ts';

const HELP = `Usage: npm run spool -- <folder> [options]

Reads the spool folder of a node, <data folder>/spool, without its lock and without changing anything. The node may be running.

  --records        each record on a line, before the report
  --request <id>   the records of one request only, and no report
  --json           JSON: a line for each record, then one for the report
  --verify         exit code 1 when something is damaged: a record, a header or a segment that is lost or cannot be read.
                   What an earlier start has set aside counts no more, and neither does a torn end
  --help
`;

interface Settings {
  readonly folder: string;
  readonly records: boolean;
  readonly request: string | undefined;
  readonly json: boolean;
  readonly verify: boolean;
}

/** Throws an Error for arguments that say nothing. */
function readSettings(args: readonly string[]): Settings | 'help' {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      records: { type: 'boolean', default: false },
      request: { type: 'string' },
      json: { type: 'boolean', default: false },
      verify: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  const [folder, ...others] = positionals;
  if (folder === undefined || others.length > 0) throw new Error('one folder is needed');
  return { folder, records: values.records, request: values.request, json: values.json, verify: values.verify };
}

function requestOf(record: SpoolRecord): string | undefined {
  if (record.type === 'intent') return record.intent.requestId;
  return record.type === 'final' ? record.final.requestId : undefined;
}

function run(settings: Settings): number {
  const { request, json } = settings;
  const print = (text: string) => process.stdout.write(`${text}\n`);
  const visit: RecordVisitor = (incarnation, seq, record) => {
    if (request !== undefined && requestOf(record) !== request) return;
    print(json ? jsonOf({ incarnation, seq, ...record }) : recordLine(incarnation, seq, record));
  };
  const report = inspectFolder(settings.folder, nodeDisk, Date.now(), settings.records || request !== undefined ? visit : undefined);
  if (request === undefined) print(json ? jsonOf(report) : reportLines(report).join('\n'));
  return settings.verify && report.damaged ? 1 : 0;
}

function main(): number {
  let settings: Settings | 'help';
  try {
    settings = readSettings(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${HELP}`);
    return 2;
  }
  if (settings === 'help') {
    console.log(HELP);
    return 0;
  }
  try {
    return run(settings);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    return 2;
  }
}

// A reader that has seen enough, as `head` does.
process.stdout.on('error', () => process.exit());
process.exitCode = main();
