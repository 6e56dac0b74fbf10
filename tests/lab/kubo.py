"""Checks p2ptun against a real Kubo: kubo.py IPFS P2PTUN. Started by kubo.sh, which see.

Kubo closes both directions of a stream at the first EOF, so no check half-closes where the reply is still to come.
"""

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import traceback
from contextlib import AsyncExitStack
from pathlib import Path

KUBO, P2PTUN = (str(Path(path).resolve()) for path in sys.argv[1:3])
LISTEN = {"tcp": "/ip4/127.0.0.1/tcp/0", "quic": "/ip4/127.0.0.1/udp/0/quic-v1"}
PATIENCE = 60
BULK = random.Random(5460).randbytes(5_000_000)
AT_ONCE = 300
# What a node of this lab may know of the machine: nothing that leads out of its folder.
PLAIN = {"PATH": os.environ["PATH"], "IPFS_TELEMETRY": "off", "NO_COLOR": "1"}


async def eventually(what, ask):
    """Asks until the answer is true, and returns it."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not (answer := await ask()):
                await asyncio.sleep(0.05)
            return answer
    except TimeoutError:
        raise TimeoutError(f"not within {PATIENCE} s: {what}") from None


async def output(*command, env, code=0):
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    if process.returncode != code:
        raise RuntimeError(f"{command} exits {process.returncode}: {err.decode()}{out.decode()}")
    return out.decode().strip()


class Daemon:
    """A process with a folder of its own, ended at the end of a `with` block."""

    async def __aenter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="p2ptun-kubo-")
        self.path = Path(self.folder.name)
        self.env = PLAIN | {"HOME": self.folder.name, "IPFS_PATH": str(self.path / "ipfs")}
        self.log = self.path / "log"
        self.process = None
        return self

    async def run(self, *command):
        with open(self.log, "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def __aexit__(self, kind, *_):
        if self.process and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(20):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        if kind:
            print(f"     --- {type(self).__name__} wrote:\n{self.log.read_text() if self.log.exists() else ''}")
        self.folder.cleanup()


class Kubo(Daemon):
    async def start(self, transport):
        await self("init", "--profile=test")
        settings = {
            "Addresses.Swarm": [LISTEN[transport]],
            "AutoConf.Enabled": False,
            "AutoNAT.ServiceMode": "disabled",
            "AutoTLS.Enabled": False,
            "Bootstrap": [],
            "Discovery.MDNS.Enabled": False,
            "Experimental.Libp2pStreamMounting": True,
            "Provide.Enabled": False,
            "Routing.Type": "none",
            "Swarm.DisableNatPortMap": True,
            "Swarm.EnableHolePunching": False,
            "Swarm.RelayClient.Enabled": False,
            "Version.SwarmCheckEnabled": False,
        }
        for key, value in settings.items():
            await self("config", "--json", key, json.dumps(value))
        await self.run(KUBO, "daemon")
        await eventually("Kubo is ready", self.ready)
        self.id = await self("id", "-f", "<id>")
        listening = (await self("swarm", "addrs", "listen")).split()
        self.addresses = [address for address in listening if address.startswith("/ip4/127.0.0.1/")]

    async def ready(self):
        if self.process.returncode is not None:
            raise RuntimeError(f"Kubo ended with {self.process.returncode}")
        return "Daemon is ready" in self.log.read_text()

    async def __call__(self, *arguments):
        return await output(KUBO, *arguments, env=self.env)

    async def forward(self, protocol, peer):
        """A forward to `peer`; returns its port."""
        await self("p2p", "forward", protocol, "/ip4/127.0.0.1/tcp/0", f"/p2p/{peer}")
        for line in (await self("p2p", "ls")).splitlines():
            words = line.split()
            if words[0] == protocol and words[1].startswith("/ip4/127.0.0.1/tcp/"):
                return int(words[1].split("/")[4])
        raise RuntimeError(f"Kubo lists no forward for {protocol}")


class Node(Daemon):
    """p2ptun."""

    async def __aenter__(self):
        await super().__aenter__()
        self.config, self.socket = self.path / "p2ptun.toml", self.path / "control.sock"
        self.write(LISTEN["tcp"], "")
        self.id = await output(P2PTUN, "id", "--create", "-c", self.config, env=self.env)
        return self

    def write(self, listen_address, tunnels):
        self.config.write_text(
            f'[node]\nidentity = "{self.path}/identity.key"\nlisten_addresses = ["{listen_address}"]\n'
            '[discovery]\ndht = "off"\nmdns = false\n[nat]\nupnp = false\nhole_punching = false\nrelays = "off"\n' + tunnels
        )

    async def start(self, transport, tunnels):
        self.write(LISTEN[transport], tunnels)
        await self.run(P2PTUN, "run", "-c", self.config, "--socket", self.socket)
        await eventually("p2ptun is ready", self.ready)

    async def ready(self):
        if self.process.returncode is not None:
            raise RuntimeError(f"p2ptun ended with {self.process.returncode}")
        try:
            status = await self.status()
        except (OSError, RuntimeError):
            return False
        ready = [part["state"] == "ready" for part in status["tunnels"] + status["listeners"]]
        return ready and all(ready)

    async def status(self):
        """`GET /v1/status`."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        writer.write(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        if b" 200 " not in head.splitlines()[0]:
            raise RuntimeError(head.decode())
        return json.loads(body)

    async def tunnel(self, name):
        return next(tunnel for tunnel in (await self.status())["tunnels"] if tunnel["name"] == name)


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
