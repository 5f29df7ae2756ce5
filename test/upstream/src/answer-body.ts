// The fields of an answer's body that the tests look at.

/** A body of either provider, success or error; each test knows which fields its answer has. */
export interface AnswerBody {
  id: string;
  open: number;
  usage?: { prompt_tokens: number; completion_tokens: number };
  choices: Array<{ finish_reason: string; message: { content: string } }>;
  error: { message: string; type: string; code: string | number };
}

/** Parses an answer's body. */
export async function bodyOf(response: Response | Promise<Response>): Promise<AnswerBody> {
  // The shape is the claim under test; a missing field fails the expectation on it.
  return (await (await response).json()) as AnswerBody;
}
