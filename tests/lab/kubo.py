"""Checks p2ptun against a real Kubo: kubo.py IPFS P2PTUN. Started by kubo.sh, which see.

Kubo closes both directions of a stream at the first EOF, so no check half-closes where the reply is still to come.
"""

import asyncio
import hashlib
import json
import random
import sys
import traceback
from contextlib import AsyncExitStack
from functools import partial

import daemons
from daemons import LISTEN, PATIENCE, eventually

Kubo, Node = partial(daemons.Kubo, sys.argv[1]), partial(daemons.Node, sys.argv[2])
BULK = random.Random(5460).randbytes(5_000_000)
AT_ONCE = 300


class Service:
    """What the tunnels lead to. The first byte of a connection says what is wanted."""

    async def __aenter__(self):
        self.connections = 0
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            match await reader.readexactly(1):
                case b"U":
                    writer.write(hashlib.sha256(await reader.readexactly(len(BULK))).digest())
                case b"D":
                    writer.write(BULK)
                case b"E":
                    writer.write(await reader.readexactly(1024))
            await writer.drain()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass  # The client tells what it missed.
        finally:
            writer.close()


async def ask(port, question, length):
    """Sends a question and reads an answer of a known length."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(question)
            answer = asyncio.create_task(reader.readexactly(length))
            await writer.drain()
            return await answer
        finally:
            writer.close()


async def up(port):
    assert await ask(port, b"U" + BULK, 32) == hashlib.sha256(BULK).digest(), "the upload is not intact"


async def down(port):
    assert await ask(port, b"D", len(BULK)) == BULK, "the download is not intact"


async def burst(port):
    async def one(nth):
        message = random.Random(nth).randbytes(1024)
        return await ask(port, b"E" + message, 1024) == message

    results = await asyncio.gather(*map(one, range(AT_ONCE)), return_exceptions=True)
    failures = [result for result in results if result is not True]
    assert not failures, f"{len(failures)} of {AT_ONCE} failed, first: {failures[0]!r}"


class Tally:
    passed = failed = 0

    async def check(self, name, attempt):
        try:
            await attempt
        except Exception as error:  # whatever it is, the other checks still have their turn
            self.failed += 1
            print(f"FAIL {name}: {error!r}", flush=True)
            traceback.print_exc()
            return
        self.passed += 1
        print(f"ok   {name}", flush=True)

    async def traffic(self, name, port):
        await self.check(f"{name}: 5 MB up intact", up(port))
        await self.check(f"{name}: 5 MB down intact", down(port))
        await self.check(f"{name}: {AT_ONCE} connections at once", burst(port))


async def kubo_serves(tally, transport):
    name = f"{transport}, Kubo serves"
    async with AsyncExitStack() as stack:
        service, kubo, node = [await stack.enter_async_context(part) for part in (Service(), Kubo(), Node())]
        await kubo.start(transport)
        await kubo("p2p", "listen", "/x/service", f"/ip4/127.0.0.1/tcp/{service.port}")
        addresses = json.dumps(kubo.addresses)
        await node.start(
            transport,
            f'[peers.kubo]\nid = "{kubo.id}"\naddresses = {addresses}\n'
            '[forward.service]\nprotocol = "/x/service"\nbind = "127.0.0.1:0"\npeer = "kubo"\n'
            '[forward.absent]\nprotocol = "/x/absent"\nbind = "127.0.0.1:0"\npeer = "kubo"\n',
        )
        ports = [int((await node.tunnel(of))["bind"].rpartition(":")[2]) for of in ("service", "absent")]
        await tally.traffic(name, ports[0])
        await tally.check(f"{name}: what Kubo does not offer ends in a reset", refused_by_kubo(ports[1], node))
        await tally.check(f"{name}: every connection is accounted for", accounted_for(node, service))


async def is_reset(port, question):
    try:
        await ask(port, question, 1)
    except ConnectionResetError:
        return
    raise AssertionError("somebody answered")


async def refused_by_kubo(port, node):
    # To one who says nothing first: Kubo's refusal over QUIC is overtaken by its reset where bytes follow the request.
    await is_reset(port, b"")

    async def counted():
        return (await node.tunnel("absent"))["refused"] == 1

    await eventually("the refusal is counted", counted)
    await is_reset(port, b"E" + bytes(1024))


async def kubo_dials(tally, transport):
    name = f"{transport}, Kubo dials"
    async with AsyncExitStack() as stack:
        service, kubo, node = [await stack.enter_async_context(part) for part in (Service(), Kubo(), Node())]
        other = await stack.enter_async_context(Node())
        await kubo.start(transport)
        await node.start(
            transport,
            f'[listen.service]\ntarget = "127.0.0.1:{service.port}"\nallow = ["{kubo.id}"]\n'
            f'[listen.secret]\ntarget = "127.0.0.1:{service.port}"\nallow = ["{other.id}"]\n',
        )
        await kubo("swarm", "connect", (await node.status())["addresses"][0])
        ports = [await kubo.forward(f"/x/{of}", node.id) for of in ("service", "secret")]
        await tally.traffic(name, ports[0])
        await tally.check(f"{name}: without the right it gets nothing", gets_nothing(ports[1], service))
        await tally.check(f"{name}: without the right it sees no protocol", sees_no_protocol(kubo, node))
        await tally.check(f"{name}: every connection is accounted for", accounted_for(node, service))


async def gets_nothing(port, service):
    before = service.connections
    try:
        answer = await ask(port, b"E" + bytes(1024), 1024)
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        answer = getattr(error, "partial", b"")
    assert answer == b"", "somebody answered"
    assert service.connections == before, "the service was reached"


async def sees_no_protocol(kubo, node):
    async def protocols():
        peers = json.loads(await kubo("swarm", "peers", "--identify", "--enc=json"))["Peers"]
        return next(peer["Identify"]["Protocols"] for peer in peers if peer["Peer"] == node.id)

    seen = await eventually("Kubo knows what p2ptun offers", protocols)
    assert "/x/secret" not in seen, seen


async def accounted_for(node, service):
    async def over():
        return (await node.tunnel("service"))["streams"] == 0

    await eventually("the streams have ended", over)
    tunnel = await node.tunnel("service")
    assert (tunnel["streams_total"], tunnel["refused"]) == (AT_ONCE + 2, 0), tunnel
    assert service.connections == AT_ONCE + 2, service.connections


async def main():
    tally = Tally()
    for transport in LISTEN:
        for scenario in (kubo_serves, kubo_dials):
            before = tally.passed + tally.failed
            try:
                await scenario(tally, transport)
            except Exception as error:
                tally.failed += 1
                print(f"FAIL {transport}, {scenario.__name__}: {error!r}", flush=True)
                traceback.print_exc()
            if tally.passed + tally.failed == before:
                raise RuntimeError(f"{scenario.__name__} checked nothing")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
