/** What the host application does for an account: reports usage, and holds credits for work that it does itself. */
import * as answers from '../consumption/answers.ts';
import type { ConsumptionDeps } from '../consumption/deps.ts';
import {
  enlargement,
  newHold,
  nothing,
  readEnlargement,
  readIdempotencyKey,
  readNewHold,
  readNothing,
  readSettlement,
  readUsageReport,
  settlement,
  usage,
} from '../consumption/forms.ts';
import { extendHold, openHold, readHold, releaseHold, settleHold } from '../consumption/holds.ts';
import type { Asking } from '../consumption/standing.ts';
import { consume } from '../consumption/usage.ts';
import type { ErrorCode } from '../errors.ts';
import { TollgateError } from '../errors.ts';
import type { About } from '../openapi/about.ts';
import type { Asked, Call } from './calls.ts';

const SHORT: readonly ErrorCode[] = [
  'insufficient_quota',
  'budget_exceeded',
  'credits_held',
  'account_suspended',
  'ledger_unavailable',
];
const ABOUT = {
  consume: {
    summary: 'Charges what was used, once per usage_id: an operation, credits, or a model with its usage.',
    body: usage,
    answer: answers.consumed,
    errors: [...SHORT, 'not_found', 'model_not_found', 'model_not_entitled', 'feature_not_entitled'],
  },
  open: {
    summary: 'Holds credits for work whose cost is known only afterwards.',
    body: newHold,
    answer: answers.hold,
    errors: SHORT,
  },
  settle: {
    summary: 'Charges for a hold and ends it, whatever was held.',
    body: settlement,
    answer: answers.hold,
    errors: ['ledger_unavailable'],
  },
  release: {
    summary: 'Ends a hold without a charge.',
    body: nothing,
    answer: answers.hold,
    errors: ['ledger_unavailable'],
  },
  extend: {
    summary: 'Adds to an open hold, once per Idempotency-Key; its expiry stays.',
    headers: { 'idempotency-key': 'The same key again adds nothing more.' },
    body: enlargement,
    answer: answers.hold,
    errors: [...SHORT, 'idempotency_key_reused'],
  },
  show: { summary: 'Shows a hold.', answer: answers.hold },
} satisfies Record<string, About>;

export function consumptionCalls(deps: ConsumptionDeps): Call[] {
  return [
    consuming('POST', '/usage', ABOUT.consume, (asked) =>
      consume(deps, asking(asked), readUsageReport(asked.request.body)),
    ),
    consuming('POST', '/holds', ABOUT.open, (asked) => openHold(deps, asking(asked), readNewHold(asked.request.body))),
    // What was begun is ended, also by an account that has been suspended meanwhile.
    ending('POST', '/holds/:id/settle', ABOUT.settle, (asked) =>
      settleHold(deps, asked.principal.account, idOf(asked), readSettlement(asked.request.body)),
    ),
    ending('POST', '/holds/:id/release', ABOUT.release, (asked) => {
      readNothing(asked.request.body);
      return releaseHold(deps, asked.principal.account, idOf(asked));
    }),
    // No policy is asked of more for what runs: whoever asks is read afresh.
    ending('POST', '/holds/:id/extend', ABOUT.extend, (asked) => {
      const { body, headers } = asked.request;
      if (asked.principal.suspended) throw new TollgateError('account_suspended');
      const once = readIdempotencyKey(headers['idempotency-key']);
      return extendHold(deps, asked.principal, idOf(asked), { amount: readEnlargement(body), once });
    }),
    ending('GET', '/holds/:id', ABOUT.show, (asked) => readHold(deps, asked.principal.account, idOf(asked))),
  ];
}

function consuming(method: Call['method'], path: string, about: About, answer: Call['answer']): Call {
  return { method, path, scopes: ['consume'], reads: false, about, answer };
}

function ending(method: Call['method'], path: string, about: About, answer: Call['answer']): Call {
  return { ...consuming(method, path, about, answer), reads: true };
}

function asking({ principal, request }: Asked): Asking {
  return { principal, caller: request };
}

/** The id in the path, percent-decoded. */
function idOf({ request }: Asked): string {
  return (request.params as { id: string }).id;
}
