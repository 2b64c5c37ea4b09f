/**
 * The style guide as a test. Each rule holds for the whole repository, and is shown a planted breach that it must find
 * at its line: a rule that cannot fail protects nothing.
 */
import { describe, expect, test } from 'vitest';
import { importCycles, importRule } from './imports.ts';
import { parse, read, type Source } from './source.ts';
import * as style from './style.ts';

const src = read('src/**/*.ts');
// The plants below would be found by the rules on text.
const code = [...src, ...read('test/**/*.ts', 'scripts/**/*.ts', 'bin/*.js', '*.config.ts')].filter(
  ({ path }) => !path.startsWith('test/tidy/'),
);
const sized = [...read('{src,test,scripts}/**/*.{ts,js,sql}', 'bin/*')].filter(
  ({ path }) => path !== 'src/db/schema.sql',
);

interface Rule {
  name: string;
  check(sources: Source[]): string[];
  sources: Source[];
  /** path → text that breaks the rule on its last line, after text that does not. */
  breaks: [path: string, text: string][];
  /** What looks alike and is allowed. */
  allows: [path: string, text: string][];
}

const rules: Rule[] = [
  {
    name: 'a layer imports only what stands left of it',
    check: importRule,
    sources: src,
    breaks: [
      ['src/ledger/a.ts', `import { b } from '../lib/b.ts';\nimport { c } from '../catalog/c.ts';`],
      ['src/gateway/a.ts', `// surfaces never import one another: …\nimport type { c } from '../customer/c.ts';`],
      ['src/admin/a.ts', `\nimport { c } from '../upstream/c.ts';`],
      ['src/upstream/a.ts', `import '../observe/log.ts';\nexport { c } from '../ledger/c.ts';`],
      ['src/lib/a.ts', `\nexport * from '../errors.ts';`],
      ['src/db/a.ts', `\nconst c = await import('../app.ts');`],
      ['src/db/a.ts', `\ntype C = import('../accounts/c.ts').C;`],
      ['src/catalog/a.ts', `\nnew Worker(new URL('../metering/worker.ts', import.meta.url));`],
      ['src/db/a.ts', `\nawait import(name);`],
      ['src/misc/a.ts', `\nimport '../lib/b.ts';`],
      ['src/gateway/a.ts', `import { Pool } from 'pg';\nimport { request } from 'undici';`],
      ['src/admin/a.ts', `import { fastify } from 'fastify';\nimport type Stripe from 'stripe';`],
      ['src/entitlements/a.ts', `\nimport { Redis } from 'ioredis';`],
    ],
    allows: [
      ['src/gateway/a.ts', `import '../upstream/b.ts'; import './b.ts'; import '../ledger/b.ts'; import 'node:fs';`],
      ['src/upstream/a.ts', `import { Pool } from 'undici';`],
      ['src/payments/a.ts', `import Stripe from 'stripe';`],
      ['src/entitlements/limits/a.ts', `import { Redis } from 'ioredis';`],
      ['src/cli/a.ts', `const { serve } = await import('../server.ts');`],
    ],
  },
  {
    name: '`process.env` is read in config.ts only',
    check: style.environment,
    sources: src,
    breaks: [
      ['src/app.ts', `const env = {};\nconst x = process.env.HOST;`],
      ['src/app.ts', `\nconst x = process['env'];`],
      ['src/app.ts', `\nimport { env } from 'node:process';`],
    ],
    allows: [['src/config.ts', `export const load = (env = process.env) => env;`]],
  },
  {
    name: '`console` is used in the CLI only',
    check: style.printing,
    sources: src,
    breaks: [['src/app.ts', `// console.log is a comment here\nconsole.error('x');`]],
    allows: [
      ['src/cli.ts', `console.log('x');`],
      ['src/cli/keys.ts', `console.log('x');`],
      ['src/app.ts', `import { routes } from './console/routes.ts';`],
    ],
  },
  {
    name: 'no `any`',
    check: style.anyTypes,
    sources: code,
    breaks: [
      ['src/app.ts', `// …\nfunction f(x: any) {}`],
      ['src/app.ts', `\nconst y = x as any;`],
      ['src/app.ts', `\ntype M = Map<string, any>;`],
    ],
    allows: [['src/app.ts', `const any = 'x as any'; // : any`]],
  },
  {
    name: 'no hidden compiler errors',
    check: style.ignoredErrors,
    sources: code,
    breaks: [['src/app.ts', `\n// @ts-ignore`]],
    allows: [['src/app.ts', `// @ts-check`]],
  },
  {
    name: 'nothing is left to do in the code',
    check: style.leftovers,
    sources: [...code, ...read('src/**/*.sql')],
    breaks: [
      ['src/app.ts', `\n// TODO: later`],
      ['src/db/migrations/0001-a.sql', `\n-- FIXME`],
    ],
    allows: [['src/app.ts', `const TODOS = 1;`]],
  },
  {
    name: `files have at most ${style.MAX_FILE_LINES} lines`,
    check: style.longFiles,
    sources: sized,
    breaks: [['src/app.ts', `${'\n'.repeat(style.MAX_FILE_LINES)};`]],
    allows: [['src/app.ts', `${'\n'.repeat(style.MAX_FILE_LINES - 1)};\n`]],
  },
  {
    name: `functions have at most ${style.MAX_FUNCTION_LINES} lines`,
    check: style.longFunctions,
    sources: src,
    breaks: [['src/app.ts', `const x = () => {${'\n'.repeat(style.MAX_FUNCTION_LINES)}};`]],
    allows: [['src/app.ts', `const x = () => {${'\n'.repeat(style.MAX_FUNCTION_LINES - 1)}};`]],
  },
  {
    name: 'money is never a float',
    check: style.floatMoney,
    sources: src,
    breaks: [
      ['src/ledger/a.ts', `const n = Number(row.count);\nconst a = Number(row.amount);`],
      ['src/catalog/a.ts', `\nconst p = parseFloat(text);`],
      ['src/gateway/a.ts', `\nconst c = credits.toFixed(2);`],
      ['src/payments/a.ts', `\nconst c = Number(balance);`],
    ],
    allows: [
      ['src/catalog/a.ts', `const v = Number(row.priceVersion);`],
      ['src/observe/a.ts', `const ms = x.toFixed(1);`],
    ],
  },
  {
    name: 'a provider is named in upstream/, metering/readers/ and config only',
    check: style.providerNames,
    sources: src,
    breaks: [
      ['src/gateway/a.ts', `// OpenAI says so, and a comment may\nif (kind === 'openai') f();`],
      ['src/gateway/a.ts', `\nconst anthropicVersion = 1;`],
      ['src/metering/a.ts', '\nconst url = `https://api.groq.com/v1`;'],
    ],
    allows: [
      ['src/upstream/openai.ts', `const name = 'openai';`],
      ['src/metering/readers/a.ts', `const usage = body.x_groq;`],
      ['src/config.ts', `const kinds = ['openai'];`],
    ],
  },
];

describe.each(rules)('$name', ({ check, sources, breaks, allows }) => {
  test('in this repository', () => {
    expect(sources.length).toBeGreaterThan(0);
    expect(check(sources)).toEqual([]);
  });

  test('finds each planted breach at its line', () => {
    for (const [path, text] of breaks) {
      const line = check === style.longFunctions ? 1 : text.split('\n').length;
      expect(check([parse(path, text)]), text).toEqual([expect.stringMatching(`^${path}:${line}: `)]);
    }
  });

  test('lets through what only looks alike', () => {
    for (const [path, text] of allows) expect(check([parse(path, text)]), text).toEqual([]);
  });
});

describe('nothing imports in a circle', () => {
  test('in this repository', () => {
    expect(importCycles(src)).toEqual([]);
  });

  test('a circle is found once, at the import that closes it, and a diamond is none', () => {
    const circle = [
      parse('src/lib/a.ts', `import './b.ts';\nimport './c.ts';`),
      parse('src/lib/b.ts', `import './d.ts';`),
      parse('src/lib/c.ts', `import './d.ts';`),
      parse('src/lib/d.ts', `\n\nimport type { X } from './b.ts';`),
    ];
    expect(importCycles(circle)).toEqual([
      'src/lib/d.ts:3: imports in a circle: src/lib/b.ts → src/lib/d.ts → src/lib/b.ts',
    ]);
    expect(importCycles(circle.slice(0, 3))).toEqual([]);
  });
});
