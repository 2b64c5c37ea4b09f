/**
 * The parent's side of the processes of the benchmark.
 *
 *   starting ──ready──▶ running ──stop: disconnect──▶ stopping ──exit──▶ gone
 *      └────── exits, or says nothing for 60 s ─────────────────────────▶ failed; what still runs is killed by its pid
 */
import { type ChildProcess, fork } from 'node:child_process';
import { join } from 'node:path';

const START_MS = 60_000;
/** A gateway drains and stops its Postgres. */
const STOP_MS = 60_000;

export class Child {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #exited: Promise<string>;

  private constructor(name: string, child: ChildProcess) {
    this.name = name;
    this.#process = child;
    this.#exited = new Promise((resolve) => {
      child.on('exit', (code, signal) => resolve(signal ?? `status ${code}`));
      child.on('error', (error) => resolve(error.message));
    });
  }

  /** Starts a script of this folder. `ready` is what it said when it was. */
  static async start<Ready>(script: string, args: string[] = []): Promise<{ child: Child; ready: Ready }> {
    const child = new Child(script, fork(join(import.meta.dirname, script), args, { stdio: ['ignore', 2, 2, 'ipc'] }));
    try {
      return { child, ready: await child.#next<Ready>(START_MS) };
    } catch (error) {
      child.#process.kill('SIGKILL');
      throw error;
    }
  }

  get pid(): number {
    return this.#process.pid!;
  }

  /** Asks, and waits for the answer: one question at a time. */
  ask<Answer>(message: object, timeoutMs: number): Promise<Answer> {
    const answer = this.#next<Answer>(timeoutMs);
    this.#process.send(message);
    return answer;
  }

  /** Lets it end by itself. Throws when it had to be killed, or did not end well. */
  async stop(): Promise<void> {
    if (this.#process.connected) this.#process.disconnect();
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), STOP_MS);
    const outcome = await this.#exited;
    clearTimeout(timer);
    if (outcome !== 'status 0') throw new Error(`${this.name} ended with ${outcome}`);
  }

  #next<Answer>(timeoutMs: number): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.name} did not answer in ${timeoutMs} ms`)), timeoutMs);
      const heard = ({ answer }: { answer: Answer }): void => {
        clearTimeout(timer);
        resolve(answer);
      };
      this.#process.once('message', heard);
      void this.#exited.then((outcome) => {
        clearTimeout(timer);
        reject(new Error(`${this.name} ended with ${outcome}`));
      });
    });
  }
}
