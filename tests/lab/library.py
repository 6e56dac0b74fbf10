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


class Player(Daemon):
    """A node of the library. Its program takes orders, one JSON a line, and answers each with a line."""

    def __init__(self, *command):
        super().__init__(command[0])
        self.arguments = command[1:]

    async def start(self, security):
        (self.path / "bulk").write_bytes(BULK)
        with open(self.log, "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                self.program,
                *self.arguments,
                security,
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


async def conversation(tally, name, ask, service, node):
    """All that a client and `service` have to say to each other; `ask(question, …)` has the client ask."""

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
        ("resets", "reset", "the service sees the client's reset"),
        ("resets_after_its_end", "reset", "the service sees the reset of a client that has ended its way"),
    ]:
        await check(sentence, heard(question, wanted))
    for *question, sentence in [
        ("greeted", "a service that speaks first is heard"),
        ("up", "16 MiB up are intact"),
        ("down", "16 MiB down are intact"),
        ("client_ends_first", "16 MiB and an end are answered"),
        ("meets_reset", "the client sees the service's reset"),
        ("meets_reset_after_its_end", "a client that has ended its way sees the service's reset"),
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


# Where a question goes; the others go to "service".
TUNNEL = {"greeted": "greeting", "gets_nothing": "absent"}


async def library_serves(tally, name, player, node, security, agreed):
    async with AsyncExitStack() as stack:
        player, node = [await stack.enter_async_context(part) for part in (player, node())]
        await player.start(security)
        tap = await stack.enter_async_context(Tap(player.address))
        tunnels = ("service", "greeting", "absent")
        await node.start(
            "tcp",
            f'[peers.far]\nid = "{player.id}"\naddresses = ["{tap.address}"]\n'
            + "".join(f'[forward.{of}]\nprotocol = "/x/{of}"\nbind = "127.0.0.1:0"\npeer = "far"\n' for of in tunnels),
        )
        ports = {of: int((await node.tunnel(of))["bind"].rpartition(":")[2]) for of in tunnels}

        def ask(question, *count):
            return getattr(traffic, question)(ports[TUNNEL.get(question, "service")], *count)

        await conversation(tally, name, ask, player, node)
        await tally.check(f"{name}: they have agreed on {agreed}", over(tap, agreed))
        await tally.check(f"{name}: p2ptun pings it", pinged(node, player))


async def library_dials(tally, name, player, node, security, agreed):
    async with AsyncExitStack() as stack:
        service, player, node, other = [
            await stack.enter_async_context(part) for part in (Service(), player, node(), node())
        ]
        await player.start(security)
        await node.start(
            "tcp",
            f'[listen.service]\ntarget = "127.0.0.1:{service.port}"\nallow = ["{player.id}"]\n'
            f'[listen.greeting]\ntarget = "127.0.0.1:{service.greeting_port}"\nallow = ["{player.id}"]\n'
            f'[listen.absent]\ntarget = "127.0.0.1:{service.port}"\nallow = ["{other.id}"]\n',
        )
        tap = await stack.enter_async_context(Tap((await node.status())["addresses"][0]))
        await player.order("dial", address=f"{tap.address}/p2p/{node.id}")

        def ask(question, count=None):
            protocol = f"/x/{TUNNEL.get(question, 'service')}"
            return player.order("ask", question=question, protocol=protocol, count=count)

        await conversation(tally, name, ask, service, node)
        await tally.check(f"{name}: they have agreed on {agreed}", over(tap, agreed))
        await tally.check(f"{name}: it pings p2ptun", player.order("ping"))


async def over(tap, agreed):
    assert tap.agreed and set(tap.agreed) == {agreed}, tap.agreed


async def pinged(node, player):
    async def rtt():
        return next(peer["rtt_ms"] for peer in (await node.status())["peers"] if peer["id"] == player.id)

    await eventually("p2ptun knows the round trip time", rtt)
