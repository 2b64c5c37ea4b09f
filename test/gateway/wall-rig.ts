/** What the tests of the wall call with: a model that everything of has a price, and a request that each metered endpoint takes. */

export const WALL_CATALOG = `
models:
  all:
    routes: [{ provider: scripted, model: all }]
    max_output_tokens: 1000
    context_window: 100000
    price: { input: 1, output: 2, input_audio: 1, output_audio: 1, input_image: 1, output_image: 1, image: 0.01, second_input: 0.001, second_output: 0.001, character: 1, request: 0.001 }
  free: { routes: [{ provider: scripted, model: free }], price: { input: 0 } }
plans:
  standard: { default: true, models: ["*"], features: [] }
`;

const json = (body: object) => (): RequestInit => ({
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ model: 'all', ...body }),
});

const form = (fields: Record<string, string | Blob>, name: string) => (): RequestInit => {
  const body = new FormData();
  for (const [field, value] of Object.entries({ model: 'all', ...fields })) {
    if (typeof value === 'string') body.append(field, value);
    else body.append(field, value, name);
  }
  return { body };
};

/** One pixel. */
const PNG = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
);

/** A second of silence: 8,000 samples of a byte. */
export function wav(): Buffer<ArrayBuffer> {
  const samples = 8_000;
  const head = Buffer.alloc(44);
  head.write('RIFF', 0, 'latin1');
  head.writeUInt32LE(36 + samples, 4);
  head.write('WAVEfmt ', 8, 'latin1');
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(8_000, 24);
  head.writeUInt32LE(8_000, 28);
  head.writeUInt16LE(1, 32);
  head.writeUInt16LE(8, 34);
  head.write('data', 36, 'latin1');
  head.writeUInt32LE(samples, 40);
  return Buffer.concat([head, Buffer.alloc(samples, 128)]);
}

const picture = new Blob([PNG], { type: 'image/png' });
const sound = new Blob([wav()], { type: 'audio/wav' });
const messages = [{ role: 'user', content: 'Say hello' }];

/** By URL, the least that an endpoint takes. */
export const SAMPLES: Readonly<Record<string, () => RequestInit>> = {
  '/v1/chat/completions': json({ messages }),
  '/v1/completions': json({ prompt: 'Say hello' }),
  '/v1/responses': json({ input: 'Say hello' }),
  '/v1/responses/input_tokens': json({ input: 'Say hello' }),
  '/v1/responses/compact': json({ input: 'Say hello' }),
  '/v1/embeddings': json({ input: 'Say hello' }),
  '/v1/moderations': json({ model: 'free', input: 'Say hello' }),
  '/v1/images/generations': json({ prompt: 'A cat' }),
  '/v1/images/edits': json({ prompt: 'A cat', images: [{ image_url: 'https://example.com/cat.png' }] }),
  '/v1/images/variations': form({ image: picture }, 'cat.png'),
  '/v1/audio/speech': json({ input: 'Hello', voice: 'alloy' }),
  '/v1/audio/transcriptions': form({ file: sound }, 'hello.wav'),
  '/v1/audio/translations': form({ file: sound }, 'hello.wav'),
};
