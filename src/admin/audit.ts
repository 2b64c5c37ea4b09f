/** The audit log: who changed what, and what it was before. */
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { type AuditRow, listChanges } from '../accounts/audit.ts';
import { readCursor, readInput } from '../errors-input.ts';
import { pageQuery, text, toPage } from '../lib/http-json.ts';
import { parsePublicId, publicId } from '../lib/ids.ts';
import { about } from '../openapi/about.ts';
import * as answers from './answers.ts';
import { type AdminDeps, integerCursor } from './shared.ts';

const query = pageQuery.extend({
  account: z
    .string('must be an account id')
    .refine((id) => parsePublicId('acct', id) !== null, 'must be an account id: acct_…')
    .transform((id) => parsePublicId('acct', id)!)
    .optional(),
  target: text(300).optional(),
  author: text(200).optional(),
  action: text(100).optional(),
});
const list = about({
  summary: 'Lists changes made through this API, all or those of an account, a target, an author, an action.',
  query,
  answer: answers.auditPage,
});

export function registerAudit(scope: FastifyInstance, { pool }: AdminDeps): void {
  scope.get('/audit', list, async (request) => {
    const { limit, cursor, ...filter } = readInput(query, request.query);
    const page = { limit: limit + 1, after: readCursor(cursor, integerCursor) };
    return toPage(await listChanges(pool, filter, page), limit, present, (row) => row.id.toString());
  });
}

function present({ id, at, ...row }: AuditRow) {
  return { id: publicId('aud', id), at: at.toISOString(), ...row };
}
