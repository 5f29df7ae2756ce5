/** The protocols spoken on both sides, to clients and to upstreams, and what can be asked for in them. */
export type DialectName = 'openai-chat' | 'openai-responses' | 'anthropic-messages' | 'gemini';

export type Operation = 'chat' | 'embeddings';

export const DIALECT_NAMES: readonly DialectName[] = ['openai-chat', 'openai-responses', 'anthropic-messages', 'gemini'];
export const OPERATIONS: readonly Operation[] = ['chat', 'embeddings'];
