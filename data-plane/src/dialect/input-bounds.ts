/** Upper bounds in tokens of what a request holds, whichever protocol it is written in. */

/** Chat templates put 3 to 5 tokens around a message, besides the bytes of its JSON. */
export const MESSAGE_OVERHEAD_TOKENS = 8;
/** A tool's signature is rewritten into the prompt in another notation, which can be longer than its JSON. */
export const TOOL_OVERHEAD_TOKENS = 32;
/** Models put an instruction of their own before the first tool; the longest published one has 530 tokens. */
export const TOOLS_INSTRUCTION_TOKENS = 640;
/** The most a published price list counts for one image: 2,833 + 8 tiles × 5,667 of the model with the dearest tiles. */
export const IMAGE_MAX_TOKENS = 48_169;
/** Of an image asked for in low detail: 2,833 where the detail is heeded; where it is not, 12.8 million pixels in squares of 28. */
export const LOW_DETAIL_IMAGE_MAX_TOKENS = 16_384;
/** Speech is at most 32 tokens a second and at least 750 bytes a second in the leanest codec: one token in 23 bytes. */
export const AUDIO_BYTES_PER_TOKEN = 16;
