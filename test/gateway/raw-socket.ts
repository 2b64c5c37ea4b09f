/** Requests as bytes on a socket, and what is answered to them: what no HTTP client would send. */
import { connect } from 'node:net';

export interface RawAnswer {
  status: number;
  /** The code of its error; `null`: it is none in OpenAI's form. */
  code: string | null;
  head: string;
  body: string;
}

/**
 * Sends bytes (a string: each character is one) to a gateway, and reads until it closes, or has answered so many times. Returns the
 * answers, in their order.
 */
export async function raw(gateway: { url: string }, bytes: string, most = Infinity): Promise<RawAnswer[]> {
  const { hostname, port } = new URL(gateway.url);
  let text = '';
  const socket = connect({ host: hostname, port: Number(port) });
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk;
    if (answersOf(text).length >= most) socket.destroy();
  });
  socket.write(bytes, 'latin1');
  await new Promise<void>((resolve) => {
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.on('end', () => socket.end());
  });
  return answersOf(text);
}

/** Answers of a length that they state: those of ours do. */
function answersOf(text: string): RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (let rest = text; rest.startsWith('HTTP/1.1 '); ) {
    const end = rest.indexOf('\r\n\r\n');
    if (end < 0) break;
    const head = rest.slice(0, end);
    const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? 0);
    if (rest.length < end + 4 + length) break;
    const body = rest.slice(end + 4, end + 4 + length);
    answers.push({ status: Number(head.slice(9, 12)), code: codeOf(body), head, body });
    rest = rest.slice(end + 4 + length);
  }
  return answers;
}

function codeOf(body: string): string | null {
  try {
    return (JSON.parse(body) as { error?: { code?: string } }).error?.code ?? null;
  } catch {
    return null;
  }
}
