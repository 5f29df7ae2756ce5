/** All rows of the table. */
import type { Row } from './row.ts';
import { runOwnAnswers, runRecordedAnswers } from './run-answers.ts';
import { runOwnErrors, runRecordedErrors } from './run-errors.ts';
import { runOwnRequests, runRecordedRequests } from './run-requests.ts';

export function ownRows(): Row[] {
  return [...runOwnRequests(), ...runOwnAnswers(), ...runOwnErrors()];
}

/** None where the recordings are not there. */
export function recordedRows(): Row[] {
  return [...runRecordedRequests(), ...runRecordedAnswers(), ...runRecordedErrors()];
}
