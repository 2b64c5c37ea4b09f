/** Pieces as one: without a copy where they follow one another in memory, as the frames of one chunk do. */
export function joined(pieces: readonly Buffer[]): Buffer {
  const first = pieces[0]!;
  let end = first.byteOffset;
  for (const piece of pieces) {
    if (piece.buffer !== first.buffer || piece.byteOffset !== end) return Buffer.concat(pieces);
    end += piece.length;
  }
  return Buffer.from(first.buffer, first.byteOffset, end - first.byteOffset);
}
