/** Messages of AWS's event streams, written. */
import { crc32 } from 'node:zlib';

/** A message with headers that are strings, and a payload. */
export function eventMessage(headers: Record<string, string>, payload: string | Buffer): Buffer {
  const lines = Object.entries(headers).map(([name, value]) => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(Buffer.byteLength(value));
    return Buffer.concat([
      Buffer.from([Buffer.byteLength(name)]),
      Buffer.from(name),
      Buffer.from([7]),
      length,
      Buffer.from(value),
    ]);
  });
  return rawMessage(Buffer.concat(lines), Buffer.from(payload));
}

/** A message whose headers are bytes. */
export function rawMessage(headers: Buffer, payload: Buffer): Buffer {
  const prelude = Buffer.alloc(12);
  prelude.writeUInt32BE(16 + headers.length + payload.length, 0);
  prelude.writeUInt32BE(headers.length, 4);
  prelude.writeUInt32BE(crc32(prelude.subarray(0, 8)), 8);
  const checked = Buffer.concat([prelude, headers, payload]);
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(checked));
  return Buffer.concat([checked, crc]);
}

/** An event of a type, as JSON. */
export function eventOf(type: string, payload: unknown): Buffer {
  return eventMessage({ ':event-type': type, ':message-type': 'event' }, JSON.stringify(payload));
}

/** A chunk of InvokeModel: what the model said, wrapped. */
export function chunkOf(said: unknown): Buffer {
  return eventOf('chunk', { bytes: Buffer.from(JSON.stringify(said)).toString('base64'), p: 'abc' });
}
