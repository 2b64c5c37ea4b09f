/** What a call of an API says of itself. Its route carries it, and the API's description is made of what its routes carry. */
import type { z } from 'zod';
import type { ErrorCode } from '../errors.ts';

/** A call as it is described. */
export interface About {
  /** What it does, in a sentence without its subject. */
  summary: string;
  /** Below the prefix of the API; needed where the route ends in `*`, which takes names with slashes. */
  path?: `/${string}`;
  query?: z.ZodType | undefined;
  body?: z.ZodType;
  /** Headers that it reads beside those of every call, with what they say. */
  headers?: Readonly<Record<string, string>>;
  answer: z.ZodType;
  /** With which it answers, 200 alone unless given; 201 where something was made. */
  statuses?: readonly (200 | 201)[];
  /** Another form in which it answers, for whom `Accept` asks for that. */
  alsoAs?: string;
  /** Those of its errors that not every call has. */
  errors?: readonly ErrorCode[];
}

/** What a route carries: the calls it serves, and which scopes of a key may make them. */
export interface Carried {
  calls: readonly About[];
  scopes: readonly string[];
}

declare module 'fastify' {
  interface FastifyContextConfig {
    about?: Carried;
  }
}

/** The options of a route that serves these calls: one, but where names with slashes make one route of several. */
export function about(...calls: About[]): { config: { about: Carried } } {
  return { config: { about: { calls, scopes: [] } } };
}
