/** The id of an answer that was made of another dialect's: of our request's id, since clients must have one of their own form. */
export function answerId(requestId: string): string {
  return `chatcmpl-${requestId.replace(/^req_/, '')}`;
}
