/**
 * A whole AI product in one file: sign-up, a paywall, chat, a picture at a fixed price, the balance, more credits. It keeps no secret
 * of its users: one service key speaks for all of them, each named by the id that they have here (`tollgate-account: ext:<id>`).
 *
 *   TOLLGATE_SERVICE_KEY=sk-tg-… node examples/saas/app.ts        then open http://127.0.0.1:3000
 */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import OpenAI from 'openai';

const TOLLGATE = process.env.TOLLGATE_URL ?? 'http://127.0.0.1:8080';
const KEY = process.env.TOLLGATE_SERVICE_KEY ?? '';
const MODEL = process.env.MODEL ?? 'demo/chat';
const PORT = Number(process.env.PORT ?? 3000);

/** Who is signed in, by session. A real app has a database; what users own in credits is Tollgate's to know. */
const sessions = new Map<string, { id: string; email: string }>();

interface Call {
  user: string;
  path: string;
  body?: object;
}

/** A call of the customer API for one of our users. Throws with Tollgate's own words. */
async function tollgate<T>({ user, path, body }: Call): Promise<T> {
  const response = await fetch(`${TOLLGATE}/account/v1/${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      authorization: `Bearer ${KEY}`,
      'tollgate-account': `ext:${user}`,
      'content-type': 'application/json',
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = (await response.json()) as T & { error: { message: string } };
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}

interface Balance {
  available: string;
  held: string;
  next_expiry: { at: string; credits: string } | null;
}

/** What only an account that may do so gets to see; everyone else is told why not. */
async function paywall(user: string, wanted: { model: string } | { feature: string }): Promise<void> {
  const check = { user, path: 'entitlements/check', body: wanted };
  const { allowed, reason } = await tollgate<{ allowed: boolean; reason: string }>(check);
  if (!allowed) throw new Error(reason);
}

/** The answer as it is written, charged to the user by what it really used. */
async function chat(user: string, message: string, response: ServerResponse): Promise<void> {
  await paywall(user, { model: MODEL });
  const openai = new OpenAI({
    apiKey: KEY,
    baseURL: `${TOLLGATE}/v1`,
    defaultHeaders: { 'tollgate-account': `ext:${user}` },
  });
  const stream = await openai.chat.completions.create({
    model: MODEL,
    messages: [{ role: 'user', content: message }],
    stream: true,
  });
  response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' });
  for await (const chunk of stream) response.write(chunk.choices[0]?.delta.content ?? '');
  response.end();
}

/** A picture at the price of its operation: charged first, once per id, however often the browser sends it; then drawn, once. */
async function draw(user: string, id: string): Promise<string> {
  await paywall(user, { feature: 'image_generation' });
  const { charged, replayed } = await tollgate<{ charged: string; replayed: boolean }>({
    user,
    path: 'usage',
    body: { usage_id: id, operation: 'image' },
  });
  return replayed ? 'This one was drawn before.' : `( ◕‿◕ ) for ${charged} credits`;
}

async function page(user: { id: string; email: string } | undefined): Promise<string> {
  if (user === undefined) {
    return '<form method=post action=/signup><input name=email type=email required> <button>Sign up</button></form>';
  }
  const { available, held, next_expiry } = await tollgate<Balance>({ user: user.id, path: 'balance' });
  const expiry = next_expiry === null ? '' : `, ${next_expiry.credits} of them until ${next_expiry.at}`;
  return `<p>${asHtml(user.email)}: <b id=balance>${available}</b> credits${expiry} (${held} held)</p>
    <form id=chat><input name=message required> <button>Ask</button></form> <button id=draw>Draw (20 credits)</button>
    <form method=post action=/buy><button>Buy credits</button></form>
    <pre id=answer></pre>
    <script>
      const say = async (path, body) => {
        const r = await fetch(path, { method: 'POST', body: new URLSearchParams(body) });
        answer.textContent = '';
        for await (const text of r.body.pipeThrough(new TextDecoderStream())) answer.textContent += text;
        balance.textContent = (await (await fetch('/balance')).json()).available;
      };
      chat.onsubmit = (e) => (e.preventDefault(), say('/chat', { message: chat.message.value }));
      draw.onclick = () => say('/draw', { id: crypto.randomUUID() });
    </script>`;
}

const asHtml = (text: string): string => text.replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);

async function form(request: IncomingMessage): Promise<URLSearchParams> {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > 10_000) throw new Error('That is too long.');
  }
  return new URLSearchParams(text);
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const user = sessions.get(/session=([\w-]+)/.exec(request.headers.cookie ?? '')?.[1] ?? '');
  const json = (body: object): void => {
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const route = `${request.method} ${request.url}`;
  if (route === 'GET /') {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' }).end(await page(user));
  } else if (route === 'POST /signup') {
    const [id, session] = [randomUUID(), randomUUID()];
    // The first call that names a user makes the account, with what the default plan includes.
    await tollgate({ user: id, path: 'balance' });
    sessions.set(session, { id, email: (await form(request)).get('email') ?? '' });
    response.writeHead(303, { location: '/', 'set-cookie': `session=${session}; HttpOnly; SameSite=Lax` }).end();
  } else if (user === undefined) response.writeHead(401).end('Sign up first.');
  else if (route === 'GET /balance') json(await tollgate<Balance>({ user: user.id, path: 'balance' }));
  else if (route === 'POST /chat') await chat(user.id, (await form(request)).get('message') ?? '', response);
  else if (route === 'POST /draw') response.end(await draw(user.id, (await form(request)).get('id') ?? ''));
  else if (route === 'POST /buy') {
    const body = { pack: 'starter', success_url: `http://${request.headers.host}/` };
    const { url } = await tollgate<{ url: string }>({ user: user.id, path: 'checkout', body });
    response.writeHead(303, { location: url }).end();
  } else response.writeHead(404).end();
}

const server = createServer((request, response) => {
  serve(request, response).catch((error: Error) => {
    if (response.headersSent) response.destroy();
    else response.writeHead(402, { 'content-type': 'text/plain; charset=utf-8' }).end(error.message);
  });
});
server.listen(PORT, '127.0.0.1', () => {
  console.log(`the app listens on http://127.0.0.1:${(server.address() as { port: number }).port}`);
});
