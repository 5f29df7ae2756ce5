/** Turns, and what they consist of. */
import { objectsAt, textAt } from '../json.ts';
import { PDF, PNG, type RequestCase, unless, WAV, WEATHER_SCHEMA } from './request-case.ts';

const IMAGE_URL = 'https://images.example/cat.png';

export const MESSAGE_CASES: readonly RequestCase[] = [
  {
    number: 33,
    what: 'one text',
    asked: {
      'openai-chat': { messages: [{ role: 'user', content: 'Hello, wörld 🙂' }] },
      'openai-responses': { input: 'Hello, wörld 🙂' },
      'anthropic-messages': { max_tokens: 100, messages: [{ role: 'user', content: 'Hello, wörld 🙂' }] },
      gemini: { contents: [{ role: 'user', parts: [{ text: 'Hello, wörld 🙂' }] }] },
    },
  },
  {
    number: 33,
    what: 'a stream is asked for as a stream',
    isStream: true,
    asked: {
      'openai-chat': { messages: [{ role: 'user', content: 'Hello' }] },
      'openai-responses': { input: 'Hello' },
      'anthropic-messages': { max_tokens: 100, messages: [{ role: 'user', content: 'Hello' }] },
      gemini: { contents: [{ role: 'user', parts: [{ text: 'Hello' }] }] },
    },
    check: (body, upstream) =>
      upstream === 'openai-chat'
        ? unless((body.stream_options as { include_usage?: unknown } | undefined)?.include_usage === true, 'usage is not asked for')
        : [],
  },
  {
    number: 33,
    what: 'several turns, contents as lists of parts',
    asked: {
      'openai-chat': {
        messages: [
          { role: 'system', content: [{ type: 'text', text: 'Be brief.' }] },
          { role: 'user', content: [{ type: 'text', text: 'One' }] },
          { role: 'assistant', content: [{ type: 'text', text: 'Two' }] },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'Three' },
              { type: 'text', text: 'Four' },
            ],
          },
        ],
      },
      'openai-responses': {
        instructions: 'Be brief.',
        input: [
          { role: 'user', content: [{ type: 'input_text', text: 'One' }] },
          {
            type: 'message',
            role: 'assistant',
            id: 'msg_1',
            status: 'completed',
            content: [{ type: 'output_text', text: 'Two', annotations: [] }],
          },
          {
            role: 'user',
            content: [
              { type: 'input_text', text: 'Three' },
              { type: 'input_text', text: 'Four' },
            ],
          },
        ],
      },
      'anthropic-messages': {
        max_tokens: 100,
        system: [{ type: 'text', text: 'Be brief.' }],
        messages: [
          { role: 'user', content: [{ type: 'text', text: 'One' }] },
          { role: 'assistant', content: [{ type: 'text', text: 'Two' }] },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'Three' },
              { type: 'text', text: 'Four' },
            ],
          },
        ],
      },
      gemini: {
        systemInstruction: { parts: [{ text: 'Be brief.' }] },
        contents: [
          { role: 'user', parts: [{ text: 'One' }] },
          { role: 'model', parts: [{ text: 'Two' }] },
          { role: 'user', parts: [{ text: 'Three' }, { text: 'Four' }] },
        ],
      },
    },
  },
  {
    number: 34,
    what: 'two messages of one side after each other are merged where they must alternate',
    asked: {
      'openai-chat': {
        messages: [
          { role: 'user', content: 'One' },
          { role: 'user', content: 'Two' },
          { role: 'assistant', content: 'Three' },
          { role: 'assistant', content: 'Four' },
          { role: 'user', content: 'Five' },
        ],
      },
      'openai-responses': {
        input: [
          { role: 'user', content: 'One' },
          { role: 'user', content: 'Two' },
          { role: 'assistant', content: 'Three' },
          { role: 'assistant', content: 'Four' },
          { role: 'user', content: 'Five' },
        ],
      },
    },
    check: (body, upstream) => {
      const turns = upstream === 'gemini' ? objectsAt(body, 'contents') : objectsAt(body, 'messages');
      return upstream === 'gemini' || upstream === 'anthropic-messages' ? unless(turns.length === 3, `${turns.length} turns`) : [];
    },
  },
  {
    number: 35,
    what: 'an assistant’s message comes first',
    asked: {
      'openai-chat': {
        messages: [
          { role: 'assistant', content: 'Welcome' },
          { role: 'user', content: 'Hi' },
        ],
      },
      'openai-responses': {
        input: [
          { role: 'assistant', content: 'Welcome' },
          { role: 'user', content: 'Hi' },
        ],
      },
      gemini: {
        contents: [
          { role: 'model', parts: [{ text: 'Welcome' }] },
          { role: 'user', parts: [{ text: 'Hi' }] },
        ],
      },
    },
  },
  {
    number: 36,
    what: 'several system and developer messages, one of them in the middle',
    asked: {
      'openai-chat': {
        messages: [
          { role: 'system', content: 'First.' },
          { role: 'developer', content: 'Second.' },
          { role: 'user', content: 'Hi' },
          { role: 'system', content: 'Third.' },
          { role: 'user', content: 'Go on' },
        ],
      },
      'openai-responses': {
        instructions: 'First.',
        input: [
          { role: 'developer', content: 'Second.' },
          { role: 'user', content: 'Hi' },
          { role: 'system', content: 'Third.' },
          { role: 'user', content: 'Go on' },
        ],
      },
      'anthropic-messages': {
        max_tokens: 100,
        system: [
          { type: 'text', text: 'First.' },
          { type: 'text', text: 'Second.' },
        ],
        messages: [
          { role: 'user', content: 'Hi' },
          { role: 'assistant', content: 'Hello' },
          { role: 'system', content: 'Third.' },
          { role: 'user', content: 'Go on' },
        ],
      },
    },
  },
  {
    number: 36,
    what: 'where the model takes it, a system message in the middle stays there',
    models: { 'anthropic-messages': 'claude-opus-4-8' },
    asked: {
      'openai-chat': {
        messages: [
          { role: 'system', content: 'First.' },
          { role: 'user', content: 'Hi' },
          { role: 'assistant', content: 'Hello' },
          { role: 'system', content: 'Third.' },
          { role: 'user', content: 'Go on' },
        ],
      },
    },
    check: (body, upstream) =>
      upstream === 'anthropic-messages'
        ? unless(
            objectsAt(body, 'messages').some(({ role }) => role === 'system'),
            'it was moved',
          )
        : [],
  },
  {
    number: 31,
    what: 'an assistant’s message of calls without content, with null, and with empty content',
    asked: {
      'openai-chat': {
        messages: [
          { role: 'user', content: 'Weather?' },
          { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'f', arguments: '{}' } }] },
          { role: 'tool', tool_call_id: 'call_1', content: 'sunny' },
          { role: 'assistant', content: '', tool_calls: [{ id: 'call_2', type: 'function', function: { name: 'f', arguments: '{}' } }] },
          { role: 'tool', tool_call_id: 'call_2', content: 'rain' },
        ],
        tools: [{ type: 'function', function: { name: 'f' } }],
      },
    },
  },
  {
    number: 32,
    what: 'empty texts beside others make no empty blocks',
    asked: {
      'openai-chat': {
        messages: [
          { role: 'system', content: '' },
          {
            role: 'user',
            content: [
              { type: 'text', text: '' },
              { type: 'text', text: 'Hi' },
            ],
          },
          { role: 'assistant', content: '' },
          { role: 'user', content: 'Still there?' },
        ],
      },
      'openai-responses': {
        instructions: '',
        input: [
          {
            role: 'user',
            content: [
              { type: 'input_text', text: '' },
              { type: 'input_text', text: 'Hi' },
            ],
          },
          { role: 'user', content: 'Still there?' },
        ],
      },
      gemini: {
        systemInstruction: { parts: [{ text: '' }] },
        contents: [
          { role: 'user', parts: [{ text: '' }, { text: 'Hi' }] },
          { role: 'model', parts: [{ text: '' }] },
          { role: 'user', parts: [{ text: 'Still there?' }] },
        ],
      },
    },
  },
  {
    number: 38,
    what: 'a name of an author does no harm',
    asked: { 'openai-chat': { messages: [{ role: 'user', name: 'ada', content: 'Hi' }] } },
    outcome: { 'openai-responses': ['message_name'], 'anthropic-messages': ['message_name'], gemini: ['message_name'] },
  },
  {
    number: 38,
    what: 'a refusal of an earlier turn is kept as what was said',
    asked: {
      'openai-chat': {
        messages: [
          { role: 'user', content: 'Hi' },
          { role: 'assistant', content: null, refusal: 'I cannot help with that.' },
          { role: 'user', content: 'Why?' },
        ],
      },
      'openai-responses': {
        input: [
          { role: 'user', content: 'Hi' },
          {
            type: 'message',
            id: 'msg_1',
            status: 'completed',
            role: 'assistant',
            content: [{ type: 'refusal', refusal: 'I cannot help with that.' }],
          },
          { role: 'user', content: 'Why?' },
        ],
      },
    },
  },
  {
    number: 65,
    what: 'an image in base64',
    asked: {
      'openai-chat': {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'What is it?' },
              { type: 'image_url', image_url: { url: `data:image/png;base64,${PNG}` } },
            ],
          },
        ],
      },
      'openai-responses': {
        input: [
          {
            role: 'user',
            content: [
              { type: 'input_text', text: 'What is it?' },
              { type: 'input_image', image_url: `data:image/png;base64,${PNG}`, detail: 'auto' },
            ],
          },
        ],
      },
      'anthropic-messages': {
        max_tokens: 100,
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'What is it?' },
              { type: 'image', source: { type: 'base64', media_type: 'image/png', data: PNG } },
            ],
          },
        ],
      },
      gemini: { contents: [{ role: 'user', parts: [{ text: 'What is it?' }, { inlineData: { mimeType: 'image/png', data: PNG } }] }] },
    },
  },
  {
    number: 65,
    what: 'an image whose media type is told wrong goes with its own',
    asked: {
      'openai-chat': {
        messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: `data:image/jpeg;base64,${PNG}` } }] }],
      },
      gemini: { contents: [{ role: 'user', parts: [{ inlineData: { mimeType: 'image/jpeg', data: PNG } }] }] },
    },
    check: (body, upstream) =>
      upstream === 'anthropic-messages' ? unless(JSON.stringify(body).includes('"image/png"'), 'the type is still wrong') : [],
  },
  {
    number: 65,
    what: 'an image by its address',
    asked: {
      'openai-chat': { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: IMAGE_URL } }] }] },
      'openai-responses': { input: [{ role: 'user', content: [{ type: 'input_image', image_url: IMAGE_URL }] }] },
      'anthropic-messages': {
        max_tokens: 100,
        messages: [{ role: 'user', content: [{ type: 'image', source: { type: 'url', url: IMAGE_URL } }] }],
      },
    },
    outcome: { gemini: 'refuse' },
  },
  {
    number: 66,
    what: 'a PDF in base64',
    asked: {
      'openai-chat': {
        messages: [
          { role: 'user', content: [{ type: 'file', file: { filename: 'a.pdf', file_data: `data:application/pdf;base64,${PDF}` } }] },
        ],
      },
      'openai-responses': {
        input: [{ role: 'user', content: [{ type: 'input_file', filename: 'a.pdf', file_data: `data:application/pdf;base64,${PDF}` }] }],
      },
      'anthropic-messages': {
        max_tokens: 100,
        messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: PDF } }] }],
      },
      gemini: { contents: [{ role: 'user', parts: [{ inlineData: { mimeType: 'application/pdf', data: PDF } }] }] },
    },
    outcomeOf: {
      'openai-chat>gemini': ['file_name'],
      'openai-responses>gemini': ['file_name'],
    },
  },
  {
    number: 66,
    what: 'a file of one provider is no file of another',
    asked: {
      'openai-chat': { messages: [{ role: 'user', content: [{ type: 'file', file: { file_id: 'file-abc' } }] }] },
      'openai-responses': { input: [{ role: 'user', content: [{ type: 'input_file', file_id: 'file-abc' }] }] },
      'anthropic-messages': {
        max_tokens: 100,
        messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'file', file_id: 'file_abc' } }] }],
      },
      gemini: {
        contents: [
          {
            role: 'user',
            parts: [{ fileData: { mimeType: 'application/pdf', fileUri: 'https://generativelanguage.googleapis.com/v1beta/files/abc' } }],
          },
        ],
      },
    },
    outcome: { 'openai-chat': 'refuse', 'openai-responses': 'refuse', 'anthropic-messages': 'refuse', gemini: 'refuse' },
  },
  {
    number: 67,
    what: 'sound',
    asked: {
      'openai-chat': {
        messages: [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data: WAV, format: 'wav' } }] }],
      },
      gemini: { contents: [{ role: 'user', parts: [{ inlineData: { mimeType: 'audio/wav', data: WAV } }] }] },
    },
    outcome: { 'anthropic-messages': 'refuse' },
  },
  {
    number: 37,
    what: 'marks of a prompt cache stay where the dialect has them',
    asked: {
      'anthropic-messages': {
        max_tokens: 100,
        system: [{ type: 'text', text: 'Long.', cache_control: { type: 'ephemeral' } }],
        messages: [{ role: 'user', content: [{ type: 'text', text: 'Also long.', cache_control: { type: 'ephemeral', ttl: '1h' } }] }],
      },
      'openai-chat': {
        messages: [
          { role: 'system', content: [{ type: 'text', text: 'Long.', cache_control: { type: 'ephemeral' } }] },
          { role: 'user', content: [{ type: 'text', text: 'Also long.', cache_control: { type: 'ephemeral', ttl: '1h' } }] },
        ],
      },
    },
    outcome: { 'openai-chat': ['cache_control'], 'openai-responses': ['cache_control'], gemini: ['cache_control'] },
  },
  {
    number: 37,
    what: 'at most four marks of a prompt cache are sent',
    asked: {
      'openai-chat': {
        messages: [1, 2, 3, 4, 5, 6].map((n) => ({
          role: n % 2 === 1 ? 'user' : 'assistant',
          content: [{ type: 'text', text: `Text ${n}`, cache_control: { type: 'ephemeral' } }],
        })),
      },
    },
    outcome: {
      'openai-responses': ['cache_control', 'prefill'],
      gemini: ['cache_control', 'prefill'],
      'anthropic-messages': ['cache_control'],
    },
  },
  {
    number: 66,
    what: 'a search result of the client’s own is read as a text',
    asked: {
      'anthropic-messages': {
        max_tokens: 100,
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'Sum up.' },
              {
                type: 'search_result',
                source: 'https://a.example',
                title: 'A',
                content: [{ type: 'text', text: 'A page' }],
                citations: { enabled: true },
              },
            ],
          },
        ],
      },
    },
    // That it may be cited is asked for in a field of its own.
    outcome: { 'openai-chat': ['unknown_field'], 'openai-responses': ['unknown_field'], gemini: ['unknown_field'] },
  },
  {
    number: 18,
    what: 'a part that only its own dialect knows is named',
    asked: {
      'anthropic-messages': {
        max_tokens: 100,
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'Look.' },
              { type: 'a_block_of_tomorrow', value: 1 },
            ],
          },
        ],
      },
      'openai-responses': {
        input: [
          { type: 'an_item_of_tomorrow', value: 1 },
          { role: 'user', content: 'Look.' },
        ],
      },
    },
    outcome: {
      'openai-chat': ['unknown_part'],
      'openai-responses': ['unknown_part'],
      'anthropic-messages': ['unknown_part'],
      gemini: ['unknown_part'],
    },
  },
  {
    number: 35,
    what: 'a history that ends with the assistant',
    models: { 'anthropic-messages': 'claude-sonnet-4-5' },
    asked: {
      'openai-chat': {
        messages: [
          { role: 'user', content: 'Count' },
          { role: 'assistant', content: 'One, two' },
        ],
      },
      'anthropic-messages': {
        max_tokens: 100,
        messages: [
          { role: 'user', content: 'Count' },
          { role: 'assistant', content: 'One, two' },
        ],
      },
    },
    outcome: { gemini: ['prefill'], 'openai-chat': ['prefill'], 'openai-responses': ['prefill'] },
    check: (body, upstream) =>
      upstream === 'anthropic-messages'
        ? unless(textAt(objectsAt(body, 'messages').at(-1), 'role') === 'assistant', 'the prefill is gone')
        : [],
  },
  {
    number: 29,
    what: 'a proof of thinking that nothing follows makes no empty turn',
    asked: {
      'openai-responses': {
        input: [
          { role: 'user', content: 'Hi' },
          { type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'gAAAA' },
          { role: 'user', content: 'Still there?' },
        ],
      },
    },
    // The proof means something to its own provider only.
    saidBy: { 'openai-chat': ['turns', 'text'], 'anthropic-messages': ['turns', 'text'], gemini: ['turns', 'text'] },
    check: (body, upstream) =>
      upstream === 'openai-chat'
        ? unless(
            objectsAt(body, 'messages').every((message) => textAt(message, 'content') !== ''),
            'an empty message',
          )
        : [],
  },
  {
    number: 36,
    what: 'a system message alone is asked all the same',
    asked: {
      'openai-chat': { messages: [{ role: 'system', content: 'Say hello.' }] },
      'openai-responses': { input: [{ role: 'system', content: 'Say hello.' }] },
    },
    check: (body, upstream) => {
      const list = objectsAt(body, upstream === 'gemini' ? 'contents' : upstream === 'openai-responses' ? 'input' : 'messages');
      return unless(list.length === 1 && JSON.stringify(list).includes('Say hello.'), 'nothing is asked');
    },
  },
  {
    number: 32,
    what: 'a question of no words is refused by those that take none',
    asked: { 'openai-chat': { messages: [{ role: 'user', content: '' }] }, 'openai-responses': { input: [{ role: 'user', content: '' }] } },
    outcome: { 'anthropic-messages': 'refuse', gemini: 'refuse' },
  },
  {
    number: 66,
    what: 'the name of a document that is read as a text',
    asked: {
      'anthropic-messages': {
        max_tokens: 100,
        messages: [
          {
            role: 'user',
            content: [
              { type: 'document', title: 'Terms', source: { type: 'text', media_type: 'text/plain', data: 'All sales are final.' } },
            ],
          },
        ],
      },
    },
    outcome: { 'openai-chat': ['file_name'], gemini: ['file_name'] },
  },
  {
    number: 38,
    what: 'the name of a function, in the older form of its result, is nobody’s',
    asked: {
      'openai-chat': {
        messages: [
          { role: 'user', content: 'Weather?' },
          { role: 'assistant', content: null, function_call: { name: 'get_weather', arguments: '{"city":"Paris"}' } },
          { role: 'function', name: 'get_weather', content: 'Rain' },
        ],
        functions: [{ name: 'get_weather', parameters: WEATHER_SCHEMA }],
      },
    },
  },
];
