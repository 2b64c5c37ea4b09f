#!/usr/bin/env node
/**
 * Starts src/cli.ts on a Node that runs TypeScript as it is: this one where it is new enough, else the one that the npm
 * package `node` put into node_modules. It must parse on Node 14, so that an old Node gets a sentence instead of a
 * syntax error.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { isatty } from 'node:tty';
import { fileURLToPath } from 'node:url';

const OLDEST_NODE = 24;
const root = fileURLToPath(new URL('..', import.meta.url));
const cli = new URL('../src/cli.ts', import.meta.url);

if (Number.parseInt(process.version.slice(1), 10) >= OLDEST_NODE) {
  import(cli.href);
} else {
  reexecute();
}

function reexecute() {
  const suffix = process.platform === 'win32' ? '.exe' : '';
  const node = fileURLToPath(new URL(`../node_modules/node/bin/node${suffix}`, import.meta.url));
  const child = spawn(node, [fileURLToPath(cli), ...process.argv.slice(2)], { stdio: 'inherit' });

  // Listening also keeps us alive until the child has drained. Each signal reaches the child once: what we forward, or
  // the Ctrl-C and Ctrl-\ that a terminal has already sent to every process of its foreground group.
  for (const signal of ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => {
      const typed = signal === 'SIGINT' || signal === 'SIGQUIT';
      if (!(typed && inForeground())) child.kill(signal);
    });
  }

  child.on('error', (error) => {
    console.error(
      `tollgate: needs Node ${OLDEST_NODE} or newer. This is ${process.version}, and the npm package "node" that brings one does not run ` +
        `(${error.code || error.message}): run "npm ci --ignore-scripts=false" in ${root}, or install a newer Node from https://nodejs.org`,
    );
    process.exit(1);
  });
  child.on('exit', (status, signal) => {
    if (signal === null) process.exit(status);
    // Died of a signal: die of the same one, so that whoever waits for us sees what happened.
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

/** Whether the terminal delivers what is typed at it to our process group, and so to the child as well. */
function inForeground() {
  try {
    // Fields after the command's name: state, parent, group, session, terminal, the terminal's foreground group.
    const fields = readFileSync('/proc/self/stat', 'latin1').split(') ').pop().split(' ');
    return fields[2] === fields[5];
  } catch {
    return isatty(0); // no /proc: macOS
  }
}
