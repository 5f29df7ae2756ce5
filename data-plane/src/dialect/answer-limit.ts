/** An answer that goes beyond what a node reads, keeps or writes of one: its provider broke no rule, the limit is ours. */
import { GatewayError } from '@meridian/domain/error';

/** Before the first content another provider may be tried, as after any failure; afterwards the client pays for what it was sent. */
export class AnswerLimitError extends GatewayError {
  /** `cause` names the limit, for the log only. */
  constructor(cause: unknown) {
    super('upstream_error', { source: 'upstream', message: 'The answer is larger than what is handed on, and ends here.', cause });
  }
}
