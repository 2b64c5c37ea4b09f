/** What the host application does for an account: reports usage, and holds credits for work that it does itself. */
import type { ConsumptionDeps } from '../consumption/deps.ts';
import {
  readEnlargement,
  readIdempotencyKey,
  readNewHold,
  readNothing,
  readSettlement,
  readUsageReport,
} from '../consumption/forms.ts';
import { extendHold, openHold, readHold, releaseHold, settleHold } from '../consumption/holds.ts';
import type { Asking } from '../consumption/standing.ts';
import { consume } from '../consumption/usage.ts';
import { TollgateError } from '../errors.ts';
import type { Asked, Call } from './calls.ts';

export function consumptionCalls(deps: ConsumptionDeps): Call[] {
  return [
    consuming('POST', '/usage', (asked) => consume(deps, asking(asked), readUsageReport(asked.request.body))),
    consuming('POST', '/holds', (asked) => openHold(deps, asking(asked), readNewHold(asked.request.body))),
    // What was begun is ended, also by an account that has been suspended meanwhile.
    ending('POST', '/holds/:id/settle', (asked) =>
      settleHold(deps, asked.principal.account, idOf(asked), readSettlement(asked.request.body)),
    ),
    ending('POST', '/holds/:id/release', (asked) => {
      readNothing(asked.request.body);
      return releaseHold(deps, asked.principal.account, idOf(asked));
    }),
    // No policy is asked of more for what runs: whoever asks is read afresh.
    ending('POST', '/holds/:id/extend', (asked) => {
      const { body, headers } = asked.request;
      if (asked.principal.suspended) throw new TollgateError('account_suspended');
      const once = readIdempotencyKey(headers['idempotency-key']);
      return extendHold(deps, asked.principal, idOf(asked), { amount: readEnlargement(body), once });
    }),
    ending('GET', '/holds/:id', (asked) => readHold(deps, asked.principal.account, idOf(asked))),
  ];
}

function consuming(method: Call['method'], path: string, answer: Call['answer']): Call {
  return { method, path, scopes: ['consume'], reads: false, answer };
}

function ending(method: Call['method'], path: string, answer: Call['answer']): Call {
  return { ...consuming(method, path, answer), reads: true };
}

function asking({ principal, request }: Asked): Asking {
  return { principal, caller: request };
}

/** The id in the path, percent-decoded. */
function idOf({ request }: Asked): string {
  return (request.params as { id: string }).id;
}
