/** Sound files of a known length, made byte by byte: silence, or what no decoder would play, in a form that is whole. */

/** 16 bits, one channel, 16 kHz. `stated`: what its header says of the bytes of its sound. */
export function wav(seconds: number, stated?: number): Buffer<ArrayBuffer> {
  const bytes = Math.round(seconds * 16_000) * 2;
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + bytes, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(16_000, 24);
  head.writeUInt32LE(32_000, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(stated ?? bytes, 40);
  return Buffer.concat([head, Buffer.alloc(bytes)]);
}

/** MPEG 1 layer 3, 128 kbit/s, 44.1 kHz: frames of 1,152 samples in 417 bytes. */
export function mp3(frames: number): Buffer<ArrayBuffer> {
  const frame = Buffer.alloc(417);
  frame.set([0xff, 0xfb, 0x90, 0x00]);
  return Buffer.concat(Array.from({ length: frames }, () => frame));
}
