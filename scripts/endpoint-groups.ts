/** The paths of OpenAI's API by what they are about, and why the gateway refuses what it refuses of them. */

export interface Group {
  title: string;
  /** With `/v1`. The first group that has one of a path's beginnings is its group. */
  prefixes: readonly string[];
  /** Why, as what follows "Refused:"; `null`: nothing of it is. */
  refused: string | null;
}

export const GROUPS: readonly Group[] = [
  {
    title: 'Chat',
    prefixes: ['/v1/chat'],
    refused:
      'stored completions lie in the one account at the provider that all accounts of the gateway share: a list would show those of others.',
  },
  {
    title: 'Responses',
    prefixes: ['/v1/responses'],
    refused:
      'over a WebSocket a connection outlives its requests. What is stored, and was not made by the account, does not exist for it.',
  },
  { title: 'Completions', prefixes: ['/v1/completions'], refused: null },
  { title: 'Embeddings', prefixes: ['/v1/embeddings'], refused: null },
  { title: 'Moderations', prefixes: ['/v1/moderations'], refused: null },
  { title: 'Images', prefixes: ['/v1/images'], refused: null },
  {
    title: 'Audio',
    prefixes: ['/v1/audio/speech', '/v1/audio/transcriptions', '/v1/audio/translations'],
    refused: null,
  },
  {
    title: 'Voices',
    prefixes: ['/v1/audio'],
    refused:
      'voices and consents to use them are kept by the provider for one account, and would be shared by all of the gateway.',
  },
  {
    title: 'Models',
    prefixes: ['/v1/models'],
    refused:
      'to delete a model would delete a fine-tuned one of the account that all share. The models are those of the catalog that the key may use.',
  },
  {
    title: 'Files and uploads',
    prefixes: ['/v1/files', '/v1/uploads'],
    refused:
      'storage is not metered, and a file id names a file of any account at the provider. Files are sent inside requests.',
  },
  {
    title: 'Batches',
    prefixes: ['/v1/batches'],
    refused:
      'each line of a batch names its own model, and is answered when no request runs that could be held for. Send the lines as requests.',
  },
  {
    title: 'Vector stores',
    prefixes: ['/v1/vector_stores'],
    refused: 'storage is billed by the day, which no request bounds, and the ids of stores are shared.',
  },
  {
    title: 'Containers',
    prefixes: ['/v1/containers'],
    refused: 'a container is billed while it lives, which no request bounds.',
  },
  {
    title: 'Conversations',
    prefixes: ['/v1/conversations'],
    refused:
      'a conversation is kept by the provider, under an id that any account could name. `previous_response_id` serves instead.',
  },
  {
    title: 'Realtime',
    prefixes: ['/v1/realtime'],
    refused:
      'a session runs past the gateway: each of its turns is billed again, and none is seen here. Chat with sound, speech and transcriptions serve instead.',
  },
  {
    title: 'Videos',
    prefixes: ['/v1/videos'],
    refused: 'a video is a job that outlives its request, billed by seconds and size. Not metered yet.',
  },
  {
    title: 'Fine-tuning',
    prefixes: ['/v1/fine_tuning'],
    refused:
      'training is billed by what is found in files, over days, and its models belong to the account that all share.',
  },
  {
    title: 'Assistants and threads',
    prefixes: ['/v1/assistants', '/v1/threads'],
    refused:
      'a run reads a thread that only the provider knows, as often as it likes. OpenAI has retired them for responses.',
  },
  {
    title: 'Evals',
    prefixes: ['/v1/evals'],
    refused: 'a run calls any number of models, and is answered when no request runs that could be held for.',
  },
  {
    title: 'Skills',
    prefixes: ['/v1/skills'],
    refused: 'what is stored is shared, and what it makes a model do is not bounded.',
  },
  {
    title: 'ChatKit',
    prefixes: ['/v1/chatkit'],
    refused: 'a session lets a browser talk to the provider, past the gateway.',
  },
  {
    title: 'Content provenance',
    prefixes: ['/v1/content_provenance_checks'],
    refused: 'its price is not published, and it reports no usage.',
  },
  {
    title: 'Administration of the account at the provider',
    prefixes: ['/v1/organization', '/v1/projects'],
    refused:
      "it rules over the owner's account at the provider: its keys, its people, its spending. The gateway has `/admin/v1` of its own.",
  },
];
