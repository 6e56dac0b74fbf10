"""A py-libp2p node that plays the service and the client of traffic.py over bare streams: node.py tls|noise BULK.

Takes orders, one JSON a line, and answers each with a line; see library.py.
"""

import hashlib
import json
import secrets
import sys
from pathlib import Path

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.host.ping import PingService
from libp2p.network.stream.exceptions import StreamEOF, StreamError, StreamReset
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.security.tls.transport import PROTOCOL_ID as TLS
from libp2p.security.tls.transport import TLSTransport
from multiaddr import Multiaddr

BULK = Path(sys.argv[2]).read_bytes()
DIGEST = hashlib.sha256(BULK).digest()
GREETING = b"220 I speak first\r\n"
MESSAGE = 1024
# How long somebody who writes to a peer that is gone may go on without being told.
SILENCE = 10


class Bytes:
    """A stream as a sequence of bytes that ends by "end" or by "reset"."""

    def __init__(self, stream):
        self.stream = stream
        self.buffer = bytearray()
        self.ending = None

    async def more(self):
        try:
            self.buffer += await self.stream.read(1 << 16)
        except StreamEOF:
            # A reset that comes while a read waits is read as an end; only the multiplexer beneath knows better.
            self.ending = "reset" if self.stream.muxed_stream.reset_received else "end"
        except StreamError:
            self.ending = "reset"

    async def read(self, length):
        while len(self.buffer) < length:
            assert not self.ending, f"{self.ending} after {len(self.buffer)} of {length} bytes"
            await self.more()
        taken = bytes(self.buffer[:length])
        del self.buffer[:length]
        return taken

    async def drain(self):
        """Whatever comes until it ends, by an end or a reset."""
        while not self.ending:
            await self.more()
        return self.ending

    async def rest(self):
        how = await self.drain()
        assert how == "end", how
        return await self.read(len(self.buffer))

    async def write(self, data):
        await self.stream.write(data)

    async def end(self):
        await self.stream.close_write()

    async def reset(self):
        await self.stream.reset()

    async def ending_of_writes(self):
        """How it ends for one who only writes."""
        with trio.move_on_after(SILENCE):
            while True:
                try:
                    await self.write(bytes(MESSAGE))
                except StreamError:
                    return "reset"
                await trio.sleep(0.05)
        return "nothing"


heard = []


async def answer(peer):
    match await peer.read(1):
        case b"U":
            await peer.write(hashlib.sha256(await peer.read(len(BULK))).digest())
        case b"D" | b"B":
            await peer.write(BULK)
        case b"E":
            await peer.write(await peer.read(MESSAGE))
        case b"H":
            await peer.write(hashlib.sha256(await peer.rest()).digest())
            await peer.end()
        case b"S":
            await peer.end()
            heard.append(hashlib.sha256(await peer.rest()).hexdigest())
        case b"R":
            await peer.write(await peer.read(MESSAGE))
            await peer.read(1)
            await peer.reset()
        case b"F":
            await peer.rest()
            await peer.reset()
        case b"L":
            await peer.write(b"L")
            heard.append(await peer.drain())
        case b"M":
            await peer.rest()
            await peer.write(b"M")
            heard.append(await peer.ending_of_writes())


async def serve(stream, greeting=b""):
    peer = Bytes(stream)
    try:
        if greeting:
            await peer.write(greeting)
        await answer(peer)
        await peer.drain()
        await stream.close()
    except (AssertionError, StreamError):
        await peer.reset()  # The client tells what it missed.


async def greet(stream):
    await serve(stream, GREETING)


def sees(wanted, how):
    assert how == wanted, f"the client sees: {how}"


class Client:
    """Asks a service at the far end of what `open` gives."""

    def __init__(self, open):
        self.open = open

    async def up(self):
        peer = await self.open()
        await peer.write(b"U" + BULK)
        assert await peer.read(32) == DIGEST, "the upload is not intact"
        await peer.stream.close()

    in_one_write = up

    async def down(self):
        peer = await self.open()
        await peer.write(b"D")
        assert await peer.read(len(BULK)) == BULK, "the download is not intact"
        await peer.stream.close()

    async def echo(self, peer):
        message = secrets.token_bytes(MESSAGE)
        await peer.write(b"E" + message)
        assert await peer.read(MESSAGE) == message, "not the echo"
        await peer.stream.close()

    async def greeted(self):
        peer = await self.open()
        assert await peer.read(len(GREETING)) == GREETING, "not the greeting"
        await self.echo(peer)

    async def burst(self, count):
        async def one():
            await self.echo(await self.open())

        await together(count, one)

    async def burst_half_closing(self, count):
        async def one():
            peer = await self.open()
            message = secrets.token_bytes(MESSAGE)
            await peer.write(b"H" + message)
            await peer.end()
            assert await peer.rest() == hashlib.sha256(message).digest(), "not the digest"

        await together(count, one)

    async def client_ends_first(self):
        peer = await self.open()
        await peer.write(b"H" + BULK)
        await peer.end()
        assert await peer.rest() == DIGEST, "the answer after the end of the question is not intact"

    async def service_ends_first(self):
        peer = await self.open()
        await peer.write(b"S")
        assert await peer.rest() == b""
        await peer.write(BULK)
        await peer.end()

    async def meets_reset(self):
        peer = await self.open()
        await peer.write(b"R" + bytes(MESSAGE))
        await peer.read(MESSAGE)
        await peer.write(b".")
        sees("reset", await peer.drain())

    async def meets_reset_after_its_end(self):
        peer = await self.open()
        await peer.write(b"F")
        await peer.end()
        sees("reset", await peer.drain())

    async def resets(self):
        peer = await self.open()
        await peer.write(b"L")
        await peer.read(1)
        await peer.reset()

    async def resets_after_its_end(self):
        peer = await self.open()
        await peer.write(b"M")
        await peer.end()
        await peer.read(1)
        await peer.reset()

    async def gets_nothing(self):
        try:
            await self.open()
        except Exception:
            return
        raise AssertionError("the stream was opened")


async def together(count, one):
    failures = []

    async def attempt():
        try:
            await one()
        except Exception as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(attempt)
    assert not failures, f"{len(failures)} of {count} failed, first: {failures[0]!r}"


def say(answer):
    print(json.dumps(answer), flush=True)


async def main():
    key = create_new_key_pair()
    secured = {
        "tls": lambda: {TLS: TLSTransport(key)},
        "noise": lambda: {NOISE: Noise(key, noise_privkey=create_noise_key_pair().private_key)},
    }
    host = new_host(key_pair=key, sec_opt=secured[sys.argv[1]](), muxer_preference="YAMUX")
    host.set_stream_handler("/x/service", serve)
    host.set_stream_handler("/x/greeting", greet)
    async with host.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        say({"id": str(host.get_id()), "addresses": [str(address) for address in host.get_addrs()]})
        far = None
        async for line in trio.wrap_file(sys.stdin):
            order = json.loads(line)
            try:
                match order["order"]:
                    case "dial":
                        info = info_from_p2p_addr(Multiaddr(order["address"]))
                        await host.connect(info)
                        far = info.peer_id
                        say({"answer": None})
                    case "ask":

                        async def open(protocol=order["protocol"]):
                            return Bytes(await host.new_stream(far, [protocol]))

                        count = [order["count"]] if order["count"] else []
                        say({"answer": await getattr(Client(open), order["question"])(*count)})
                    case "ping":
                        say({"answer": await PingService(host).ping(far)})
                    case "heard":
                        say({"answer": heard.pop(0) if heard else None})
                    case unknown:
                        raise ValueError(unknown)
            except Exception as error:
                say({"error": repr(error)})


trio.run(main)
