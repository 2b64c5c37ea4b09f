/**
 * A frame of a stream in which nothing but its text changes. The frames of one answer are alike but for what the model wrote, and for
 * OpenAI's padding beside it: once one was parsed, others with the same bytes around both need not be.
 *
 * What is read is what parsing would have found: all of a frame but two plainly spelled strings is the same, and the template has shown
 * what it means.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTABLE = 0x20;
const BLANK_LINE = Buffer.from('\n\n');
/** A larger frame is rare, and read by itself. */
const MOST_BYTES = 4 * 1024;
/** It hides the length of the text from who sees the traffic: random, and no output. */
const PADDING = Buffer.from('"obfuscation":"');

export class FrameTemplate {
  /** What stands around the strings: the first ends, and the others begin, with a quote. */
  readonly #parts: readonly Buffer[];
  /** Where the frame ends that was last read. */
  end = 0;

  private constructor(parts: readonly Buffer[]) {
    this.#parts = parts;
  }

  /**
   * The template of a frame that was parsed, and all of whose generated text is that one. `null`: its bytes do not show beyond doubt
   * where that stands.
   */
  static of(frame: Buffer, text: string): FrameTemplate | null {
    if (frame.length > MOST_BYTES) return null;
    // Without escapes each quote of a frame begins or ends a string, and each string is spelled as it reads.
    const isPlain = frame.subarray(-BLANK_LINE.length).equals(BLANK_LINE) && !frame.includes(BACKSLASH);
    const literal = `"${text}"`;
    const at = isPlain ? frame.indexOf(literal) : -1;
    if (at < 0 || frame.lastIndexOf(literal) !== at) return null;
    // Neither the frame's memory, which is used again, nor a piece of one that is shared: it lives as long as the stream.
    const copy = Buffer.allocUnsafeSlow(frame.length);
    frame.copy(copy);
    const afterText = at + Buffer.byteLength(literal) - 1;
    const parts = [copy.subarray(0, at + 1)];
    const padding = copy.indexOf(PADDING, afterText);
    if (padding < 0) return new FrameTemplate([...parts, copy.subarray(afterText)]);
    const [padded, afterPadding] = [padding + PADDING.length, copy.indexOf(QUOTE, padding + PADDING.length)];
    return new FrameTemplate([...parts, copy.subarray(afterText, padded), copy.subarray(afterPadding)]);
  }

  /** The text of the frame that begins there, whose end is then in `end`. `null`: it is another kind of frame. */
  read(bytes: Buffer, start: number): string | null {
    let at = start;
    let [textStart, textEnd] = [0, 0];
    for (let i = 0; i < this.#parts.length; i++) {
      const part = this.#parts[i]!;
      if (i > 0) {
        const stringStart = at;
        at = endOfString(bytes, at);
        if (i === 1) [textStart, textEnd] = [stringStart, at];
      }
      const next = at + part.length;
      if (next > bytes.length || bytes.compare(part, 0, part.length, at, next) !== 0) return null;
      at = next;
    }
    this.end = at;
    return bytes.toString('utf8', textStart, textEnd);
  }
}

/** Where a string without escapes ends: at its quote. Otherwise at what no part of a template begins with. */
function endOfString(bytes: Buffer, start: number): number {
  let at = start;
  while (at < bytes.length && bytes[at] !== QUOTE && bytes[at] !== BACKSLASH && bytes[at]! >= FIRST_PRINTABLE) at++;
  return at;
}
