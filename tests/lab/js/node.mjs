// A js-libp2p node that plays the service and the client of traffic.py over bare streams: node.mjs tls|noise|quic BULK.
// Takes orders, one JSON a line, and answers each with a line; see library.py.

import './with-resolvers.mjs'
import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { quic } from '@chainsafe/libp2p-quic'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const [line, bulkFile] = process.argv.slice(2)
const BULK = readFileSync(bulkFile)
const GREETING = Buffer.from('220 I speak first\r\n')
const MESSAGE = 1024
const PATIENCE = 60_000
// How long somebody who writes to a peer that is gone may go on without being told.
const SILENCE = 10_000
// What p2ptun's resets are heard as: libp2p's QUIC makes an end of a stream that is let go of.
const RESET = line === 'quic' ? 'end' : 'reset'
// js-libp2p lets a peer open 32 streams of a protocol, 1,000 in all, and 10 before it has set up the connection.
const STREAMS = 2_800

const sha256 = (bytes) => createHash('sha256').update(bytes).digest()
const DIGEST = sha256(BULK)

function check (holds, otherwise) {
  if (!holds) throw new Error(otherwise)
}

// A stream as a sequence of bytes that ends by "end" or by "reset".
class Bytes {
  constructor (stream) {
    this.stream = stream
    this.chunks = []
    this.length = 0
    this.ending = null
    this.wake = () => {}
    stream.addEventListener('message', ({ data }) => {
      this.chunks.push(data.subarray())
      this.length += data.byteLength
      this.#looksForEnd()
      this.wake()
    })
    // An abort is an 'end' as well, and then a 'close' with an error.
    stream.addEventListener('end', () => this.#looksForEnd())
    stream.addEventListener('close', ({ error }) => this.#ends(error != null))
    this.#looksForEnd()
  }

  // What came along with the request for the protocol is pushed back, maybe after 'end'.
  #looksForEnd () {
    const { readableEnded, readBufferLength, status } = this.stream
    if (readableEnded && readBufferLength === 0) this.#ends(status === 'reset' || status === 'aborted')
  }

  #ends (byReset) {
    this.ending ??= byReset ? 'reset' : 'end'
    this.wake()
  }

  async read (length) {
    while (this.length < length) {
      check(this.ending == null, `${this.ending} after ${this.length} of ${length} bytes`)
      await new Promise((resolve) => { this.wake = resolve })
    }
    const all = Buffer.concat(this.chunks)
    this.chunks = [all.subarray(length)]
    this.length -= length
    return all.subarray(0, length)
  }

  // Whatever comes until it ends, by an end or a reset.
  async drain () {
    while (this.ending == null) await new Promise((resolve) => { this.wake = resolve })
    return this.ending
  }

  async rest () {
    const how = await this.drain()
    check(how === 'end', how)
    return this.read(this.length)
  }

  // js-libp2p makes one frame of what it has, as large as the peer's window. One piece at a time makes small frames; its
  // own stream.onDrain() waits only once in the life of a stream.
  async write (bytes, piece = 1 << 16) {
    for (let at = 0; at < bytes.length; at += piece) {
      this.stream.send(bytes.subarray(at, at + piece))
      while (this.stream.writeBufferLength > 0 && this.stream.status === 'open') {
        await new Promise((resolve) => {
          for (const event of ['idle', 'close']) this.stream.addEventListener(event, resolve, { once: true })
        })
      }
    }
  }

  end () {
    return this.stream.close()
  }

  reset () {
    this.stream.abort(new Error('as told'))
  }

  // How it ends for one who only writes.
  async endingOfWrites () {
    const deadline = Date.now() + SILENCE
    while (Date.now() < deadline) {
      if (['reset', 'aborted', 'closed'].includes(this.stream.status)) return 'reset'
      await this.write(Buffer.alloc(MESSAGE)).catch(() => {})
      await sleep(50)
    }
    return 'nothing'
  }
}

// The service: the first byte says what is wanted.
const heard = []
const answers = {
  U: async (peer) => peer.write(sha256(await peer.read(BULK.length))),
  D: async (peer) => peer.write(BULK),
  B: async (peer) => peer.write(BULK, BULK.length),
  E: async (peer) => peer.write(await peer.read(MESSAGE)),
  H: async (peer) => {
    await peer.write(sha256(await peer.rest()))
    await peer.end()
  },
  S: async (peer) => {
    await peer.end()
    heard.push(sha256(await peer.rest()).toString('hex'))
  },
  R: async (peer) => {
    await peer.write(await peer.read(MESSAGE))
    await peer.read(1)
    peer.reset()
  },
  F: async (peer) => {
    await peer.rest()
    peer.reset()
  },
  L: async (peer) => {
    await peer.write(Buffer.from('L'))
    heard.push(await peer.drain())
  },
  M: async (peer) => {
    await peer.rest()
    await peer.write(Buffer.from('M'))
    heard.push(await peer.endingOfWrites())
  }
}

async function serve (stream, greeting) {
  const peer = new Bytes(stream)
  if (greeting != null) await peer.write(greeting)
  await answers[await peer.read(1)](peer)
  await peer.drain()
  await peer.end()
}

// The client of a service at the far end of `open()`.
const questions = {
  up: async (open) => {
    const peer = await open()
    await peer.write(Buffer.concat([Buffer.from('U'), BULK]))
    check(DIGEST.equals(await peer.read(32)), 'the upload is not intact')
    await peer.end()
  },
  down: async (open) => {
    const peer = await open()
    await peer.write(Buffer.from('D'))
    check(BULK.equals(await peer.read(BULK.length)), 'the download is not intact')
    await peer.end()
  },
  in_one_write: async (open) => {
    const peer = await open()
    await peer.write(Buffer.from('U'))
    await peer.write(BULK, BULK.length)
    check(DIGEST.equals(await peer.read(32)), 'the upload is not intact')
    await peer.end()
  },
  greeted: async (open) => {
    const peer = await open()
    check(GREETING.equals(await peer.read(GREETING.length)), 'not the greeting')
    await echo(peer)
  },
  burst: (open, count) => together(count, async () => echo(await open())),
  burst_half_closing: (open, count) => together(count, async () => {
    const peer = await open()
    const message = randomBytes(MESSAGE)
    await peer.write(Buffer.concat([Buffer.from('H'), message]))
    await peer.end()
    check(sha256(message).equals(await peer.rest()), 'not the digest')
  }),
  client_ends_first: async (open) => {
    const peer = await open()
    await peer.write(Buffer.concat([Buffer.from('H'), BULK]))
    await peer.end()
    check(DIGEST.equals(await peer.rest()), 'the answer after the end of the question is not intact')
  },
  service_ends_first: async (open) => {
    const peer = await open()
    await peer.write(Buffer.from('S'))
    check((await peer.rest()).length === 0, 'not an end')
    await peer.write(BULK)
    await peer.end()
  },
  meets_reset: async (open) => {
    const peer = await open()
    await peer.write(Buffer.concat([Buffer.from('R'), Buffer.alloc(MESSAGE)]))
    await peer.read(MESSAGE)
    await peer.write(Buffer.from('.'))
    sees(RESET, await peer.drain())
  },
  meets_reset_after_its_end: async (open) => {
    const peer = await open()
    await peer.write(Buffer.from('F'))
    await peer.end()
    sees(RESET, await peer.drain())
  },
  resets: async (open) => {
    const peer = await open()
    await peer.write(Buffer.from('L'))
    await peer.read(1)
    peer.reset()
  },
  resets_after_its_end: async (open) => {
    const peer = await open()
    await peer.write(Buffer.from('M'))
    await peer.end()
    await peer.read(1)
    peer.reset()
  },
  gets_nothing: async (open) => {
    const peer = await open().catch(() => null)
    check(peer == null, 'the stream was opened')
  }
}

function sees (wanted, how) {
  check(how === wanted, `the client sees: ${how}`)
}

async function echo (peer) {
  const message = randomBytes(MESSAGE)
  await peer.write(Buffer.concat([Buffer.from('E'), message]))
  check(message.equals(await peer.read(MESSAGE)), 'not the echo')
  await peer.end()
}

async function together (count, one) {
  const results = await Promise.allSettled(Array.from({ length: count }, one))
  const failures = results.filter(({ status }) => status === 'rejected')
  check(failures.length === 0, `${failures.length} of ${count} failed, first: ${failures[0]?.reason}`)
}

const overTcp = (encrypter) => ({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [encrypter()]
})
const lines = {
  tls: () => overTcp(tls),
  noise: () => overTcp(noise),
  quic: () => ({
    addresses: { listen: ['/ip4/127.0.0.1/udp/0/quic-v1'] },
    transports: [quic({ maxConcurrentStreamLimit: STREAMS })]
  })
}

const node = await createLibp2p({
  ...lines[line](),
  streamMuxers: [yamux({ maxInboundStreams: STREAMS, maxOutboundStreams: STREAMS, maxEarlyStreams: STREAMS })],
  // It would take itself, busy with a burst, for a dead peer.
  connectionMonitor: { enabled: false },
  services: { identify: identify(), ping: ping() },
  // By default ten seconds, in which a busy machine may not get round to every stream of a burst.
  connectionManager: {
    inboundStreamProtocolNegotiationTimeout: PATIENCE,
    outboundStreamProtocolNegotiationTimeout: PATIENCE
  }
})
const limits = { maxInboundStreams: STREAMS, maxOutboundStreams: STREAMS }
// A handler that throws is a reset to the peer, who tells what it missed.
await node.handle('/x/service', (stream) => serve(stream).catch((error) => stream.abort(error)), limits)
await node.handle('/x/greeting', (stream) => serve(stream, GREETING).catch((error) => stream.abort(error)), limits)

let connection
const orders = {
  dial: async ({ address }) => { connection = await node.dial(multiaddr(address)) },
  ask: ({ question, protocol, count }) =>
    questions[question](async () => new Bytes(await connection.newStream(protocol, limits)), count),
  ping: () => node.services.ping.ping(connection.remotePeer),
  heard: async () => heard.shift() ?? null
}

const say = (answer) => process.stdout.write(JSON.stringify(answer) + '\n')
say({ id: node.peerId.toString(), addresses: node.getMultiaddrs().map(String) })
for await (const text of createInterface({ input: process.stdin })) {
  const order = JSON.parse(text)
  try {
    say({ answer: await orders[order.order](order) ?? null })
  } catch (error) {
    console.error(error)
    say({ error: String(error) })
  }
}
process.exit(0)
