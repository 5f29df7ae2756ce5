import { describe, expect, it } from 'vitest';
import { openaiChat } from '../dialect/openai-chat/index.ts';
import { mediaUrls, withFoundMedia } from './media-urls.ts';

const URL_1 = 'https://example.com/1.png';
const URL_2 = 'https://example.com/2.png';
const image = (url: string) => ({ type: 'image_url', image_url: { url } });
const request = openaiChat.decodeRequest(
  Buffer.from(
    JSON.stringify({
      model: 'm',
      messages: [
        { role: 'user', content: [{ type: 'text', text: 'Look' }, image(URL_1), image('data:image/png;base64,AAAA'), image(URL_1)] },
        { role: 'assistant', content: null, tool_calls: [{ id: 'call_1', type: 'function', function: { name: 'f', arguments: '{}' } }] },
        { role: 'tool', tool_call_id: 'call_1', content: [image(URL_2)] },
      ],
    }),
  ),
);

describe('media that a request points at', () => {
  it('are found once each, in results of tools, too, and only those that are wanted', () => {
    expect(mediaUrls(request, () => true)).toEqual([URL_1, URL_2]);
    expect(mediaUrls(request, (url) => url === URL_2)).toEqual([URL_2]);
  });

  it('are replaced by what was found, and nothing else is', () => {
    const found = new Map([
      [URL_1, { mediaType: 'image/png', data: 'BBBB' }],
      [URL_2, { mediaType: 'image/webp', data: 'CCCC' }],
    ]);
    const filled = withFoundMedia(request, found);
    expect(mediaUrls(filled, () => true)).toEqual([]);
    expect(JSON.stringify(filled)).toBe(
      JSON.stringify(request)
        .replaceAll(JSON.stringify({ from: 'url', url: URL_1 }), '{"from":"base64","mediaType":"image/png","data":"BBBB"}')
        .replaceAll(JSON.stringify({ from: 'url', url: URL_2 }), '{"from":"base64","mediaType":"image/webp","data":"CCCC"}'),
    );
    expect(withFoundMedia(request, new Map())).toBe(request);
  });

  it('are not multiplied by an address that stands in a request many times', () => {
    const data = 'A'.repeat(1024 * 1024);
    const pointing = (times: number) =>
      openaiChat.decodeRequest(
        Buffer.from(
          JSON.stringify({ model: 'm', messages: [{ role: 'user', content: Array.from({ length: times }, () => image(URL_1)) }] }),
        ),
      );
    const found = new Map([[URL_1, { mediaType: 'image/png', data }]]);
    expect(mediaUrls(withFoundMedia(pointing(32), found), () => true)).toEqual([]);
    expect(() => withFoundMedia(pointing(33), found)).toThrow(expect.objectContaining({ code: 'request_too_large', status: 413 }));
  });
});
