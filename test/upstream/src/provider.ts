// The providers that are simulated.

/** Whose wire is spoken: decided by the path. */
export type ProviderName = 'openai' | 'openrouter' | 'anthropic' | 'gemini';
