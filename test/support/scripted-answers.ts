/** Scripts of a provider's other endpoints: an answer as it is given, and a stream of given events. */
import type { Script, Step } from './scripted-upstream.ts';

/** An answer in JSON, as it stands. */
export function jsonAnswer(body: object, status = 200): Script {
  return ({ response }) => {
    const bytes = Buffer.from(JSON.stringify(body));
    response.writeHead(status, { 'content-type': 'application/json', 'content-length': bytes.length });
    response.end(bytes);
  };
}

/** An answer that is no JSON, in pieces as they are given. */
export function binaryAnswer(contentType: string, pieces: readonly Buffer[], step: Step = () => {}): Script {
  return async (exchange) => {
    const { response } = exchange;
    response.writeHead(200, { 'content-type': contentType });
    for (let i = 0; i < pieces.length; i++) {
      await step(i, exchange);
      if (response.destroyed) return;
      if (!response.write(pieces[i])) await new Promise((resolve) => response.once('drain', resolve));
    }
    response.end();
  };
}

/** A stream of events, each under its type where it has one; the text "[DONE]" stands for itself. `step` runs before each. */
export function events(payloads: readonly (object | '[DONE]')[], step: Step = () => {}): Script {
  return async (exchange) => {
    const { response } = exchange;
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    for (let i = 0; i <= payloads.length; i++) {
      await step(i, exchange);
      if (response.destroyed || response.writableEnded) return;
      const payload = payloads[i];
      if (payload !== undefined) response.write(frameOf(payload));
    }
    response.end();
  };
}

function frameOf(payload: object | '[DONE]'): string {
  if (payload === '[DONE]') return 'data: [DONE]\n\n';
  const name = 'type' in payload ? `event: ${String(payload.type)}\n` : '';
  return `${name}data: ${JSON.stringify(payload)}\n\n`;
}
