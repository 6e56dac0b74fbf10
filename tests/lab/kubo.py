"""Checks p2ptun against a real Kubo: kubo.py IPFS P2PTUN. Started by kubo.sh, which see.

Kubo closes both directions of a stream at the first EOF, so no check half-closes where the reply is still to come, and
none asks for resets, which Kubo hides.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from functools import partial

import daemons
from daemons import eventually
from tally import Tally
from tap import NOISE, TLS, Tap
from traffic import MESSAGE, Service, ask, burst, dialled, down, greeted, many_sockets, up

Kubo, Node = partial(daemons.Kubo, sys.argv[1]), partial(daemons.Node, sys.argv[2])
AT_ONCE = 1_000
# Kubo lets a peer open 256 streams, and 128 more for each GiB that it grants itself; a burst needs all of its own at
# once, beside a few for identify and ping. With 200 here, Kubo resets what is beyond, and the checks of bursts fail.
STREAMS = AT_ONCE + 100
LIMITS = {
    scope: {"Streams": STREAMS, "StreamsInbound": STREAMS, "StreamsOutbound": STREAMS}
    for scope in ("System", "Transient", "PeerDefault", "ProtocolDefault", "ProtocolPeerDefault")
}
# What Kubo is told to speak, and what must come of it.
LINES = {
    "TCP with TLS": ("tcp", {"Noise": False}, TLS),
    "TCP with Noise": ("tcp", {"TLS": False}, NOISE),
    "QUIC": ("quic", {}, None),
}


class Meeting(AsyncExitStack):
    """A Kubo, a p2ptun, and a service behind one of them; over TCP with a tap on the line between them."""

    def __init__(self, transport, security):
        super().__init__()
        self.transport = transport
        self.settings = {f"Swarm.Transports.Security.{name}": value for name, value in security.items()}
        self.tap = None

    async def __aenter__(self):
        self.service, self.kubo, self.node = [await self.enter_async_context(part) for part in (Service(), Kubo(), Node())]
        await self.kubo.start(self.transport, settings=self.settings, limits=LIMITS)
        return self

    async def by_the_tap(self, address):
        """Where to dial instead of `address`, so that it is overheard what is agreed on."""
        if self.transport != "tcp":
            return address
        self.tap = await self.enter_async_context(Tap(address))
        return self.tap.address

    async def forward(self, tunnels):
        """Starts p2ptun with forwards to Kubo, and returns their ports."""
        address = await self.by_the_tap(self.kubo.addresses[0])
        await self.node.start(
            self.transport,
            f'[peers.kubo]\nid = "{self.kubo.id}"\naddresses = ["{address}"]\n'
            + "".join(f'[forward.{name}]\nprotocol = "/x/{name}"\nbind = "127.0.0.1:0"\npeer = "kubo"\n' for name in tunnels),
        )
        return [int((await self.node.tunnel(name))["bind"].rpartition(":")[2]) for name in tunnels]

    async def over(self, agreed):
        """Every connection of the two has come by the tap, and is secured by what was intended."""
        peers = json.loads(await self.kubo("swarm", "peers", "--enc=json"))["Peers"]
        connections = [peer["Addr"] for peer in peers if peer["Peer"] == self.node.id]
        assert self.tap.agreed, "nothing has come by the tap"
        assert self.tap.agreed == [agreed] * len(connections), f"{self.tap.agreed} for {connections}"

    async def accounted_for(self):
        """`service` has had a burst and two transfers, `greeting` has had one client."""

        async def ended():
            return (await self.node.tunnel("service"))["streams"] == 0

        await eventually("the streams have ended", ended)
        tunnel = await self.node.tunnel("service")
        assert (tunnel["streams_total"], tunnel["refused"]) == (AT_ONCE + 2, 0), tunnel
        assert self.service.connections == AT_ONCE + 3, self.service.connections


async def traffic(tally, name, ports):
    await tally.check(f"{name}: 16 MiB up are intact", up(ports[0]))
    await tally.check(f"{name}: 16 MiB down are intact", down(ports[0]))
    await tally.check(f"{name}: of {AT_ONCE} connections at once none is lost", burst(ports[0], AT_ONCE))
    await tally.check(f"{name}: a service that speaks first is heard", greeted(ports[1]))


async def kubo_serves(tally, name, transport, security, agreed):
    async with Meeting(transport, security) as meeting:
        service, kubo = meeting.service, meeting.kubo
        await kubo("p2p", "listen", "/x/service", f"/ip4/127.0.0.1/tcp/{service.port}")
        await kubo("p2p", "listen", "/x/greeting", f"/ip4/127.0.0.1/tcp/{service.greeting_port}")
        ports = await meeting.forward(["service", "greeting", "absent"])
        await traffic(tally, name, ports)
        await tally.check(f"{name}: what Kubo does not offer ends in a reset", refused_by_kubo(ports[2], meeting.node))
        await tally.check(f"{name}: every connection is accounted for", meeting.accounted_for())
        if agreed:
            await tally.check(f"{name}: they have agreed on {agreed}", meeting.over(agreed))
        await tally.check(f"{name}: when Kubo is killed its client sees a reset", killed(ports[0], kubo))


async def killed(port, kubo):
    async with dialled(port) as (reader, writer):
        writer.write(b"E" + bytes(MESSAGE))
        await reader.readexactly(MESSAGE)
        kubo.process.kill()
        try:
            # Over QUIC nobody is told: that takes as long as silence is believed.
            async with asyncio.timeout(daemons.PATIENCE):
                await reader.read()
        except ConnectionResetError:
            return
        raise AssertionError("it looked like an end")


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
    await is_reset(port, b"E" + bytes(MESSAGE))


async def kubo_dials(tally, name, transport, security, agreed):
    async with Meeting(transport, security) as meeting:
        service, kubo, node = meeting.service, meeting.kubo, meeting.node
        other = await meeting.enter_async_context(Node())
        await node.start(
            transport,
            f'[listen.service]\ntarget = "127.0.0.1:{service.port}"\nallow = ["{kubo.id}"]\n'
            f'[listen.greeting]\ntarget = "127.0.0.1:{service.greeting_port}"\nallow = ["{kubo.id}"]\n'
            f'[listen.secret]\ntarget = "127.0.0.1:{service.port}"\nallow = ["{other.id}"]\n',
        )
        address, _, _ = (await node.status())["addresses"][0].partition("/p2p/")
        await kubo("swarm", "connect", f"{await meeting.by_the_tap(address)}/p2p/{node.id}")
        ports = [await kubo.forward(f"/x/{of}", node.id) for of in ("service", "greeting", "secret")]
        await traffic(tally, name, ports)
        await tally.check(f"{name}: without the right it gets nothing", gets_nothing(ports[2], service))
        await tally.check(f"{name}: without the right it sees no protocol", sees_no_protocol(kubo, node))
        await tally.check(f"{name}: every connection is accounted for", meeting.accounted_for())
        if agreed:
            await tally.check(f"{name}: they have agreed on {agreed}", meeting.over(agreed))


async def gets_nothing(port, service):
    before = service.connections
    try:
        answer = await ask(port, b"E" + bytes(MESSAGE), MESSAGE)
    except (ConnectionError, asyncio.IncompleteReadError) as error:
        answer = getattr(error, "partial", b"")
    assert answer == b"", "somebody answered"
    assert service.connections == before, "the service was reached"


async def sees_no_protocol(kubo, node):
    async def protocols():
        peers = json.loads(await kubo("swarm", "peers", "--identify", "--enc=json"))["Peers"]
        return next(peer["Identify"]["Protocols"] for peer in peers if peer["Peer"] == node.id)

    seen = await eventually("Kubo knows what p2ptun offers", protocols)
    assert "/x/service" in seen and "/x/secret" not in seen, seen


async def both_speak_both(tally):
    """Kubo's taste is Noise, but p2ptun dials, and its comes first."""
    async with Meeting("tcp", {"TLS": 200, "Noise": 100}) as meeting:
        await meeting.kubo("p2p", "listen", "/x/greeting", f"/ip4/127.0.0.1/tcp/{meeting.service.greeting_port}")
        [port] = await meeting.forward(["greeting"])
        await tally.check("TCP, p2ptun dials: a service that speaks first is heard", greeted(port))
        await tally.check("TCP, p2ptun dials: it prefers TLS", meeting.over(TLS))


async def main():
    many_sockets()
    tally = Tally()
    for line, parameters in LINES.items():
        for part, scenario in {"Kubo serves": kubo_serves, "Kubo dials": kubo_dials}.items():
            name = f"{line}, {part}"
            await tally.scenario(name, scenario(tally, name, *parameters))
    await tally.scenario("TCP, p2ptun dials", both_speak_both(tally))
    return tally.result()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
