"""What goes through a tunnel when p2ptun meets another implementation: the service behind it, and a client.

The first byte of a connection says what is wanted. Implementations that are libraries (js/node.mjs, py_libp2p/node.py)
play the same service and the same client over bare streams, under the same names.
"""

import asyncio
import hashlib
import random
import resource
import socket
import struct
from contextlib import asynccontextmanager

from daemons import PATIENCE, eventually

BULK = random.Random(5460).randbytes(16 << 20)
DIGEST = hashlib.sha256(BULK).digest()
GREETING = b"220 I speak first\r\n"
MESSAGE = 1024
# How long somebody who writes to a peer that is gone may go on without being told.
SILENCE = 10


def many_sockets():
    """A burst takes several descriptors a connection, and the soft limit is often 1024. Daemons inherit it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def reset(writer):
    """Ends a connection by a TCP RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Service:
    """What the tunnels lead to: one port waits for the first byte, the other speaks first and then goes on likewise."""

    async def __aenter__(self):
        self.connections = 0
        self.heard = None
        self.servers = [await asyncio.start_server(each, "127.0.0.1", 0, backlog=4096) for each in (self.serve, self.greet)]
        self.port, self.greeting_port = [server.sockets[0].getsockname()[1] for server in self.servers]
        return self

    async def __aexit__(self, *_):
        for server in self.servers:
            server.close()

    async def greet(self, reader, writer):
        writer.write(GREETING)
        await self.serve(reader, writer)

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            await self.answer(await reader.readexactly(1), reader, writer)
            await writer.drain()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass  # The client tells what it missed.
        finally:
            writer.close()

    async def answer(self, wanted, reader, writer):
        match wanted:
            case b"U":  # upload
                writer.write(hashlib.sha256(await reader.readexactly(len(BULK))).digest())
            case b"D" | b"B":  # download; B asks a library for one big write
                writer.write(BULK)
            case b"E":  # echo
                writer.write(await reader.readexactly(MESSAGE))
            case b"H":  # the client ends its way first: the answer comes after that
                writer.write(hashlib.sha256(await reader.read()).digest())
                writer.write_eof()
            case b"S":  # the service ends its way first: the question comes after that
                writer.write_eof()
                self.heard = hashlib.sha256(await reader.read()).hexdigest()
            case b"R":  # a reset in mid-stream
                writer.write(await reader.readexactly(MESSAGE))
                await writer.drain()
                await reader.readexactly(1)
                reset(writer)
            case b"F":  # a reset after the client has ended its way
                await reader.read()
                reset(writer)
            case b"L":  # listens: how the client ends is what counts
                writer.write(b"L")
                self.heard = await ending(reader)
            case b"M":  # the same after the client has ended its way
                await reader.read()
                writer.write(b"M")
                self.heard = await ending_of_writes(writer)

    async def hears(self):
        """What the last listening connection has heard, once it has."""

        async def heard():
            return self.heard

        answer = await eventually("the service has heard something", heard)
        self.heard = None
        return answer


async def ending(reader):
    """How what a peer says ends."""
    try:
        async with asyncio.timeout(PATIENCE):
            while await reader.read(65536):
                pass
        return "end"
    except ConnectionResetError:
        return "reset"


async def ending_of_writes(writer):
    """How it ends for one who only writes."""
    try:
        async with asyncio.timeout(SILENCE):
            while True:
                writer.write(bytes(MESSAGE))
                await writer.drain()
                await asyncio.sleep(0.05)
    except ConnectionError:
        return "reset"
    except TimeoutError:
        return "nothing"


@asynccontextmanager
async def dialled(port):
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()


async def ask(port, question, length):
    """Sends a question, reads an answer of a known length, and closes."""
    async with dialled(port) as (reader, writer):
        writer.write(question)
        answer = asyncio.create_task(reader.readexactly(length))
        await writer.drain()
        return await answer


async def up(port):
    assert await ask(port, b"U" + BULK, 32) == DIGEST, "the upload is not intact"


async def down(port):
    assert await ask(port, b"D", len(BULK)) == BULK, "the download is not intact"


async def in_one_write(port):
    assert await ask(port, b"B", len(BULK)) == BULK, "the download is not intact"


async def greeted(port):
    """Hears the service before a word is said, and is answered afterwards."""
    async with dialled(port) as (reader, writer):
        assert await reader.readexactly(len(GREETING)) == GREETING
        message = random.Random(0).randbytes(MESSAGE)
        writer.write(b"E" + message)
        assert await reader.readexactly(MESSAGE) == message


async def burst(port, count):
    """Connections that start together, send, read their echo and close."""

    async def one(nth):
        message = random.Random(nth).randbytes(MESSAGE)
        assert await ask(port, b"E" + message, MESSAGE) == message, "not the echo"

    await together(count, one)


async def burst_half_closing(port, count):
    """The same, but each ends its way before it reads on to the end of the other."""

    async def one(nth):
        message = random.Random(nth).randbytes(MESSAGE)
        async with dialled(port) as (reader, writer):
            writer.write(b"H" + message)
            writer.write_eof()
            answer = await reader.read()
            assert answer == hashlib.sha256(message).digest(), f"{len(answer)} bytes of 32"

    await together(count, one)


async def together(count, one):
    results = await asyncio.gather(*map(one, range(count)), return_exceptions=True)
    failures = [result for result in results if result is not None]
    assert not failures, f"{len(failures)} of {count} failed, first: {failures[0]!r}"


async def client_ends_first(port):
    async with dialled(port) as (reader, writer):
        writer.write(b"H" + BULK)
        writer.write_eof()
        assert await reader.read() == DIGEST, "the answer after the end of the question is not intact"


async def service_ends_first(port):
    async with dialled(port) as (reader, writer):
        writer.write(b"S")
        assert await reader.read() == b""
        writer.write(BULK)
        writer.write_eof()
        await writer.drain()


async def meets_reset(port):
    async with dialled(port) as (reader, writer):
        writer.write(b"R" + bytes(MESSAGE))
        assert await reader.readexactly(MESSAGE) == bytes(MESSAGE)
        writer.write(b".")
        assert (how := await ending(reader)) == "reset", f"the client sees: {how}"


async def meets_reset_after_its_end(port):
    async with dialled(port) as (reader, writer):
        writer.write(b"F")
        writer.write_eof()
        assert (how := await ending(reader)) == "reset", f"the client sees: {how}"


async def resets(port):
    async with dialled(port) as (reader, writer):
        writer.write(b"L")
        assert await reader.readexactly(1) == b"L"
        reset(writer)


async def resets_after_its_end(port):
    async with dialled(port) as (reader, writer):
        writer.write(b"M")
        writer.write_eof()
        assert await reader.readexactly(1) == b"M"
        reset(writer)


async def gets_nothing(port):
    """Where the far end does not offer the tunnel's protocol."""
    try:
        await ask(port, b"E" + bytes(MESSAGE), MESSAGE)
    except ConnectionResetError:
        return
    raise AssertionError("somebody answered")
