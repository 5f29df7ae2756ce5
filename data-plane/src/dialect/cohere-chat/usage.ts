/** Usage as Cohere writes it, and our components. */
import type { Usage } from '@meridian/domain/usage';
import { count, isUsageObject, objectIn, takeParts, type UsageDraft } from '../usage-object.ts';

/**
 * Reads the `usage` of a chat answer or the `meta` of an embeddings one; undefined when it holds no token count. What is
 * billed is counted apart from what went through the model, and is less: it is without the vendor's own instructions. Only
 * where it is missing do the model's tokens stand for it, with those read from a cache taken out.
 */
export function readUsage(raw: unknown): Usage | undefined {
  if (!isUsageObject(raw)) return undefined;
  const billed = objectIn(raw, 'billed_units');
  const counted = billed ?? objectIn(raw, 'tokens');
  const input = count(counted, 'input_tokens');
  const output = count(counted, 'output_tokens');
  if (input === undefined && output === undefined) return undefined;
  const usage: UsageDraft = {};
  if (billed !== undefined) {
    // Billed pictures stand beside the billed text.
    const images = count(billed, 'image_tokens');
    if (input !== undefined) usage.input = input;
    if (images !== undefined && images > 0) usage.image_in = images;
  } else {
    usage.input = takeParts(usage, input ?? 0, [['cached_input', count(raw, 'cached_tokens')]]);
  }
  if (output !== undefined) usage.output = output;
  return usage;
}
