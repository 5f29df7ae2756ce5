/** What this dialect reads of requests and answers, and its limits. */
/** Names at the top of a request that are read or written; every other one is carried through untouched. */
export const REQUEST_KEYS: ReadonlySet<string> = new Set([
  'model',
  'input',
  'instructions',
  'stream',
  'max_output_tokens',
  'service_tier',
  'tools',
  'text',
  'reasoning',
  'store',
  'background',
  'previous_response_id',
  'conversation',
  'prompt',
]);

/** Names in an item of the input that are read or written. */
export const ITEM_KEYS: ReadonlySet<string> = new Set(['type', 'id', 'content', 'output', 'call_id', 'encrypted_content', 'result']);

/** What the client gives or does itself. An item of another kind stands for something that the provider has read or done. */
export const CLIENT_ITEMS: ReadonlySet<unknown> = new Set([
  undefined,
  'message',
  'reasoning',
  'function_call',
  'function_call_output',
  'custom_tool_call',
  'custom_tool_call_output',
  'local_shell_call',
  'local_shell_call_output',
  'apply_patch_call',
  'apply_patch_call_output',
]);

/** Tools that the client runs; any other is the provider's own. */
export const CLIENT_TOOLS: ReadonlySet<unknown> = new Set(['function', 'custom', 'local_shell', 'apply_patch']);

/** How much a model thinks that can think, where the request does not say. */
export const DEFAULT_EFFORT = 'high';

/**
 * All of a request but its input is repeated in the events that begin and end its answer. More than this could make the last of them longer
 * than an event may be, when all of the answer has been handed on.
 */
export const MAX_REPEATED_BYTES = 1024 * 1024;

/** More items in one answer are no answer any more. */
export const MAX_OUTPUT_ITEMS = 4_096;

/** The longest id of a call that is taken upstream. */
export const MAX_CALL_ID_CHARACTERS = 64;
