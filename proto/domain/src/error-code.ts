/**
 * The error catalogue: code, HTTP status, default public text and whether a retry can help, one line each.
 * Nothing else in the project decides a status.
 */
export interface ErrorDefinition {
  readonly status: number;
  readonly message: string;
  readonly retryable: boolean;
}

export const ERROR_CODES = {
  invalid_request_error: { status: 400, message: 'The request is not valid.', retryable: false },
  invalid_api_key: { status: 401, message: 'The API key is missing, malformed, unknown, revoked or expired.', retryable: false },
  invalid_token: { status: 401, message: 'The token is missing, malformed, unknown or expired.', retryable: false },
  insufficient_credits: { status: 402, message: 'The prepaid credit of this account is used up.', retryable: false },
  budget_exceeded: { status: 402, message: 'A spending cap does not leave room for this request.', retryable: false },
  insufficient_tier: { status: 403, message: 'The plan of this account does not include API access.', retryable: false },
  wrong_region: { status: 403, message: 'This key may not be used in this region.', retryable: false },
  model_not_allowed: { status: 403, message: 'This key may not use this model.', retryable: false },
  permission_denied: { status: 403, message: 'This token may not do that.', retryable: false },
  model_not_found: { status: 404, message: 'There is no such model.', retryable: false },
  unsupported_endpoint: { status: 404, message: 'There is no such endpoint.', retryable: false },
  not_found: { status: 404, message: 'There is no such resource.', retryable: false },
  conflict: { status: 409, message: 'The request conflicts with the present state.', retryable: false },
  invalid_state: { status: 422, message: 'The request cannot be carried out in the present state.', retryable: false },
  request_too_large: { status: 413, message: 'The request body is too large.', retryable: false },
  unsupported_media_type: { status: 415, message: 'This content type or content encoding is not supported.', retryable: false },
  rate_limit_exceeded: { status: 429, message: 'Too many requests.', retryable: true },
  daily_limit_exceeded: { status: 429, message: 'The daily limit is used up.', retryable: false },
  client_closed_request: { status: 499, message: 'The client closed the connection.', retryable: false },
  internal_error: { status: 500, message: 'Something went wrong on our side.', retryable: true },
  upstream_error: { status: 502, message: 'The provider could not answer the request.', retryable: true },
  overloaded: { status: 503, message: 'The service is not taking new requests at the moment.', retryable: true },
  budget_unavailable: { status: 503, message: 'The budget of this request cannot be checked at the moment.', retryable: true },
  control_plane_unavailable: { status: 503, message: 'The account API is not reachable at the moment.', retryable: true },
  upstream_timeout: { status: 504, message: 'The provider did not answer in time.', retryable: true },
} as const satisfies Record<string, ErrorDefinition>;

export type ErrorCode = keyof typeof ERROR_CODES;
