// The control endpoint under /__sim/: rules for faults, the journal, and how many calls are open.

import type { FaultRules } from './fault-rules.ts';
import type { Journal } from './journal.ts';
import type { JsonValue } from './json-value.ts';

export interface ControlRequest {
  method: string;
  path: string;
  body: Buffer;
}

export interface ControlSubjects {
  rules: FaultRules;
  journal: Journal;
  /** The client's marker of each open call. */
  open: () => (string | null)[];
}

/** Answers one control request; a wrong one gets a 400 that says what is wrong. */
export function controlReply(request: ControlRequest, subjects: ControlSubjects): { status: number; text: string } {
  const { rules, journal, open } = subjects;
  const url = new URL(request.path, 'http://sim');
  const [, , room = '', id] = url.pathname.split('/');
  const ok = (value: unknown): { status: number; text: string } => ({ status: 200, text: JSON.stringify(value) });
  switch (`${request.method} ${room}`) {
    case 'GET health':
      return ok({ ok: true, open: open().length, markers: open().filter((marker) => marker !== null) });
    case 'GET faults':
      return ok(rules.list());
    case 'POST faults':
      try {
        const body: JsonValue = JSON.parse(request.body.toString('utf8'));
        return ok(rules.add(body));
      } catch (error) {
        return { status: 400, text: JSON.stringify({ error: error instanceof Error ? error.message : String(error) }) };
      }
    case 'DELETE faults':
      rules.remove(id === undefined || id === '' ? null : Number(id));
      return ok({ ok: true });
    case 'GET journal':
      return ok(journal.since(Number(url.searchParams.get('after') ?? 0)));
    case 'DELETE journal':
      journal.clear();
      return ok({ ok: true });
    default:
      return {
        status: 404,
        text: JSON.stringify({ error: 'GET /__sim/health, GET|POST|DELETE /__sim/faults[/id], GET|DELETE /__sim/journal[?after=n]' }),
      };
  }
}
