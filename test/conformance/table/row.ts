/** One line of the table: what became of one case between one client and one upstream. */
import type { DialectName } from '@meridian/domain/dialect';
import type { Via } from './exchange.ts';

export interface Row {
  readonly kind:
    | 'request'
    | 'answer'
    | 'stream'
    | 'next turn'
    | 'error'
    | 'recorded request'
    | 'recorded answer'
    | 'recorded stream'
    | 'recorded next turn'
    | 'moved turn'
    | 'recorded moved turn'
    | 'recorded error';
  /** Of the hard case of translation that it shows; 0 for what was recorded. */
  readonly number: number;
  readonly what: string;
  readonly client: DialectName;
  readonly upstream: DialectName;
  readonly via: Via;
  /** `pass`, the names of what is lost, or the status of a refusal. */
  readonly result: string;
  /** What nothing explains; empty in a table that holds. */
  readonly complaints: readonly string[];
}
