/**
 * The paths of Azure's clients, as other names of those of `/v1`: they are rewritten before a request is routed, so that the same
 * routes serve both and none is served here that is not there.
 *
 *   /openai/v1/{op}                            → /v1/{op}
 *   /openai/{op}?api-version=…                 → /v1/{op}      what is no model's: responses, models
 *   /openai/deployments/{name}/{op}?api-version=…  → /v1/{op}  the deployment is the model, whatever the body says
 */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { isObject } from '../lib/json.ts';
import { scanObject, splice } from '../lib/json-scan.ts';

const ROOT = '/openai/';
const V1 = '/openai/v1/';
const DEPLOYMENTS = '/openai/deployments/';
/** What belongs to a deployment; the longer first, since a deployment may have a slash in its name. */
const DEPLOYMENT_OPS = [
  '/chat/completions',
  '/completions',
  '/embeddings',
  '/audio/transcriptions',
  '/audio/translations',
  '/audio/speech',
  '/images/generations',
  '/images/edits',
];
const DEPLOYED = new WeakMap<IncomingMessage, string>();

/** The URL that a request is routed by; what is none of Azure's, or of no deployment, stays as it is. */
export function canonicalUrl(request: IncomingMessage): string {
  const url = request.url!;
  if (!url.startsWith(ROOT)) return url;
  if (url.startsWith(V1)) return url.slice('/openai'.length);
  if (!url.startsWith(DEPLOYMENTS)) return `/v1/${url.slice(ROOT.length)}`;
  const query = url.includes('?') ? url.slice(url.indexOf('?')) : '';
  const path = url.slice(DEPLOYMENTS.length, url.length - query.length);
  const op = DEPLOYMENT_OPS.find((suffix) => path.endsWith(suffix));
  const name = op === undefined ? null : deploymentName(path.slice(0, -op.length));
  if (name === null) return url;
  DEPLOYED.set(request, name);
  return `/v1${op}${query}`;
}

/** The deployment that a request's path named; `null`: none. */
export function deploymentOf(request: { originalUrl: string; url: string; raw: IncomingMessage }): string | null {
  return request.originalUrl === request.url ? null : (DEPLOYED.get(request.raw) ?? null);
}

/** `null`: it is no name, but something between slashes that other servers would read as a way elsewhere. */
function deploymentName(encoded: string): string | null {
  try {
    const name = decodeURIComponent(encoded);
    return name.split('/').some((part) => part === '' || part === '.' || part === '..') ? null : name;
  } catch {
    return null;
  }
}

/** A JSON body with that name as its model. One that is none, or names several, is left to be refused as it is. */
export function withModel(body: Buffer, name: string): Buffer {
  if (!isJsonObject(body)) return body;
  const { members, end } = scanObject(body);
  const named = members.filter(({ key }) => key === 'model');
  const json = JSON.stringify(name);
  if (named.length > 1) return body;
  if (named.length === 1) {
    return splice(body, [{ start: named[0]!.valueStart, end: named[0]!.valueEnd, replacement: json }]);
  }
  const comma = members.length > 0 ? ',' : '';
  return splice(body, [{ start: end, end, replacement: `${comma}"model":${json}` }]);
}

function isJsonObject(body: Buffer): boolean {
  try {
    return isUtf8(body) && isObject(JSON.parse(body.toString()));
  } catch {
    return false;
  }
}
