/** A request of which only a part is ever sent: what it is answered, it is answered before its body has been read. */
import { once } from 'node:events';
import { connect } from 'node:net';

/** Long for any machine: what waits for the rest of the body waits for ever. */
const ANSWER_WITHIN_MS = 30_000;

export interface HalfSentAnswer {
  readonly status: number;
  readonly error: { readonly code?: string; readonly message?: string };
}

/** Sends the head and half of a JSON body to `path` of a node, and nothing more. Rejects when that is not answered, or not with JSON. */
export async function sendHalf(nodeUrl: string, path: string, apiKey: string | undefined, body: string): Promise<HalfSentAnswer> {
  const { hostname, port } = new URL(nodeUrl);
  const socket = connect(Number(port), hostname);
  const timer = setTimeout(() => socket.destroy(new Error(`no answer to half a body within ${ANSWER_WITHIN_MS} ms`)), ANSWER_WITHIN_MS);
  try {
    await once(socket, 'connect');
    const bytes = Buffer.from(body);
    const authorization = apiKey === undefined ? '' : `authorization: Bearer ${apiKey}\r\n`;
    socket.write(
      `POST ${path} HTTP/1.1\r\nhost: ${hostname}\r\n${authorization}content-type: application/json\r\ncontent-length: ${bytes.length}\r\n\r\n`,
    );
    socket.write(bytes.subarray(0, bytes.length / 2));
    let text = '';
    for await (const chunk of socket) {
      text += String(chunk);
      const answer = wholeAnswer(text);
      if (answer !== undefined) return answer;
    }
    throw new Error(`closed after ${JSON.stringify(text)}`);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

function wholeAnswer(text: string): HalfSentAnswer | undefined {
  const [, head = '', body = ''] = /^(.*?)\r\n\r\n(.*)$/s.exec(text) ?? [];
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  if (length === undefined || Buffer.byteLength(body) < Number(length)) return undefined;
  const { error = {} } = JSON.parse(body) as { error?: HalfSentAnswer['error'] };
  return { status: Number(head.split(' ')[1]), error };
}
