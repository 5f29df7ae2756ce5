/** The name of a model as a field of the operator API. */
import { z } from 'zod';

export const MODEL_NAME = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]*(\/[A-Za-z0-9][A-Za-z0-9._:-]*)*$/, 'must be a model id such as gpt-5.4')
  .max(200);
