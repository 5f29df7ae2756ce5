/** How models are told to whom: in the words of the client's dialect. */
import { anthropicModelList } from './anthropic-messages/model-list.ts';
import { geminiModelList } from './gemini/model-list.ts';
import type { ModelList } from './listed-model.ts';
import { openaiModelList } from './openai-chat/model-list.ts';
import type { Spoken } from './registry.ts';

const MODEL_LISTS: Readonly<Record<Spoken, ModelList>> = {
  'openai-chat': openaiModelList,
  'openai-responses': openaiModelList,
  'anthropic-messages': anthropicModelList,
  gemini: geminiModelList,
  'gemini-json-array': geminiModelList,
};

export function modelListOf(spoken: Spoken): ModelList {
  return MODEL_LISTS[spoken];
}
