/** A message of the wire that does not say what the contract asks of it; names the field that is at fault. */
export class WireFormatError extends Error {
  /** Path of the field inside the message: `endpoint.cost.cards[0].service_tier`. */
  readonly field: string;

  constructor(field: string, detail: string) {
    super(`${field}: ${detail}`);
    this.name = 'WireFormatError';
    this.field = field;
  }
}
