"""p2ptun meets an implementation that is a library: a small program plays the service and the client of traffic.py with
it, as it is told.
"""

import asyncio
import json
import subprocess
from contextlib import AsyncExitStack

import traffic
from daemons import PATIENCE, Daemon, eventually
from tap import Tap
from traffic import BULK, DIGEST, Service

FEW, MANY = 200, 1_000
RESET, END = "reset", "end"


class Player(Daemon):
    """A node of the library. Its program takes orders, one JSON a line, and answers each with a line."""

    def __init__(self, *command):
        super().__init__(command[0])
        self.arguments = command[1:]

    async def start(self, line):
        (self.path / "bulk").write_bytes(BULK)
        with open(self.log, "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                self.program,
                *self.arguments,
                line,
                self.path / "bulk",
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        ready = await self.line()
        self.id, [self.address, *_] = ready["id"], ready["addresses"]

    async def line(self):
        async with asyncio.timeout(2 * PATIENCE):
            line = await self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.program} has ended")
        return json.loads(line)

    async def order(self, order, **parameters):
        self.process.stdin.write(json.dumps({"order": order} | parameters).encode() + b"\n")
        answer = await self.line()
        if "error" in answer:
            raise AssertionError(answer["error"])
        return answer["answer"]

    async def hears(self):
        """What the service of this node has heard of a client, once it has."""
        return await eventually("the service has heard something", lambda: self.order("heard"))


async def conversation(tally, name, ask, service, node, to_service=RESET, to_client=RESET):
    """All that a client and `service` have to say to each other; `ask(question, …)` has the client ask. Resets that pass
    `to_service` and `to_client` arrive as that.
    """

    async def ended():
        return all(tunnel["streams"] == 0 for tunnel in (await node.status())["tunnels"])

    def check(sentence, attempt):
        return tally.check(f"{name}: {sentence}", attempt)

    async def heard(question, wanted):
        await ask(question)
        answer = await service.hears()
        assert answer == wanted, f"the service hears: {answer}"

    for question, wanted, sentence in [
        ("service_ends_first", DIGEST.hex(), "16 MiB are heard after the service's end"),
        ("resets", to_service, f"the service sees the client's reset{as_another(to_service)}"),
        ("resets_after_its_end", "reset", "the service sees the reset of a client that has ended its way"),
    ]:
        await check(sentence, heard(question, wanted))
    for *question, sentence in [
        ("greeted", "a service that speaks first is heard"),
        ("up", "16 MiB up are intact"),
        ("down", "16 MiB down are intact"),
        ("client_ends_first", "16 MiB and an end are answered"),
        ("meets_reset", f"the client sees the service's reset{as_another(to_client)}"),
        ("meets_reset_after_its_end", f"a client that has ended its way sees the service's reset{as_another(to_client)}"),
        ("gets_nothing", "what is not offered is refused"),
        ("burst", FEW, f"of {FEW} connections at once none is lost"),
        ("burst_half_closing", FEW, f"of {FEW} connections that half-close none is lost"),
        ("burst", MANY, f"of {MANY} connections at once none is lost"),
        ("burst_half_closing", MANY, f"of {MANY} connections that half-close none is lost"),
        ("in_one_write", "16 MiB in one write of the far end are intact"),
    ]:
        await check(sentence, ask(*question))
        # A burst may fill its tunnel up to `max_connections`.
        await eventually("all streams have ended", ended)


def as_another(ending):
    return "" if ending == RESET else f", as an {ending}"


# Where a question goes; the others go to "service".
TUNNEL = {"greeted": "greeting", "gets_nothing": "absent"}


class OverQuic:
    """A connection that nobody can overhear, in the place of a `Tap`."""

    def __init__(self, address):
        # Without the peer, as that of a tap.
        self.address = address.partition("/p2p/")[0]

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


def transport(line):
    return "quic" if line == "quic" else "tcp"


def reset_over(line):
    """What p2ptun's resets arrive as: libp2p's QUIC makes an end of a stream that is let go of."""
    return END if line == "quic" else RESET


def line_to(address):
    return OverQuic(address) if "/quic-v1" in address else Tap(address)


async def library_serves(tally, name, player, node, line, agreed):
    async with AsyncExitStack() as stack:
        player, node = [await stack.enter_async_context(part) for part in (player, node())]
        await player.start(line)
        tap = await stack.enter_async_context(line_to(player.address))
        tunnels = ("service", "greeting", "absent")
        await node.start(
            transport(line),
            f'[peers.far]\nid = "{player.id}"\naddresses = ["{tap.address}"]\n'
            + "".join(f'[forward.{of}]\nprotocol = "/x/{of}"\nbind = "127.0.0.1:0"\npeer = "far"\n' for of in tunnels),
        )
        ports = {of: int((await node.tunnel(of))["bind"].rpartition(":")[2]) for of in tunnels}

        def ask(question, *count):
            return getattr(traffic, question)(ports[TUNNEL.get(question, "service")], *count)

        await conversation(tally, name, ask, player, node, to_service=reset_over(line))
        if agreed:
            await tally.check(f"{name}: they have agreed on {agreed}", over(tap, agreed))
        await tally.check(f"{name}: p2ptun pings it", pinged(node, player))


async def library_dials(tally, name, player, node, line, agreed):
    async with AsyncExitStack() as stack:
        service, player, node, other = [
            await stack.enter_async_context(part) for part in (Service(), player, node(), node())
        ]
        await player.start(line)
        await node.start(
            transport(line),
            f'[listen.service]\ntarget = "127.0.0.1:{service.port}"\nallow = ["{player.id}"]\n'
            f'[listen.greeting]\ntarget = "127.0.0.1:{service.greeting_port}"\nallow = ["{player.id}"]\n'
            f'[listen.absent]\ntarget = "127.0.0.1:{service.port}"\nallow = ["{other.id}"]\n',
        )
        tap = await stack.enter_async_context(line_to((await node.status())["addresses"][0]))
        await player.order("dial", address=f"{tap.address}/p2p/{node.id}")

        def ask(question, count=None):
            protocol = f"/x/{TUNNEL.get(question, 'service')}"
            return player.order("ask", question=question, protocol=protocol, count=count)

        await conversation(tally, name, ask, service, node, to_client=reset_over(line))
        if agreed:
            await tally.check(f"{name}: they have agreed on {agreed}", over(tap, agreed))
        await tally.check(f"{name}: it pings p2ptun", player.order("ping"))


async def over(tap, agreed):
    assert tap.agreed and set(tap.agreed) == {agreed}, tap.agreed


async def pinged(node, player):
    async def rtt():
        return next(peer["rtt_ms"] for peer in (await node.status())["peers"] if peer["id"] == player.id)

    await eventually("p2ptun knows the round trip time", rtt)
