"""Real daemons on loopback, each with a folder of its own: what the labs in this folder have in common."""

import asyncio
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

LISTEN = {"tcp": "/ip4/127.0.0.1/tcp/0", "quic": "/ip4/127.0.0.1/udp/0/quic-v1"}
PATIENCE = 60
# What a daemon of a lab may know of the machine: nothing that leads out of its folder.
PLAIN = {"PATH": os.environ["PATH"], "IPFS_TELEMETRY": "off", "NO_COLOR": "1"}


async def eventually(what, ask, within=PATIENCE):
    """Asks until the answer is true, and returns it."""
    try:
        async with asyncio.timeout(within):
            while not (answer := await ask()):
                await asyncio.sleep(0.05)
            return answer
    except TimeoutError:
        raise TimeoutError(f"not within {within} s: {what}") from None


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

    def __init__(self, program):
        # Links are kept: a virtual environment's Python is one.
        self.program = str(Path(program).absolute())

    async def __aenter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="p2ptun-lab-")
        self.path = Path(self.folder.name)
        self.env = PLAIN | {"HOME": self.folder.name, "IPFS_PATH": str(self.path / "ipfs")}
        self.log = self.path / "log"
        self.process = None
        return self

    async def run(self, *arguments):
        with open(self.log, "ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                self.program, *arguments, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
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
    async def start(self, transport, listen=None, settings=None, limits=None):
        """With `limits`, libp2p's resource manager keeps to these, instead of to what suits the machine's memory."""
        await self("init", "--profile=test")
        if limits:
            (self.path / "ipfs" / "libp2p-resource-limit-overrides.json").write_text(json.dumps(limits))
        settings = {
            "Addresses.Swarm": [listen or LISTEN[transport]],
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
        } | (settings or {})
        for key, value in settings.items():
            await self("config", "--json", key, json.dumps(value))
        await self.run("daemon")
        await eventually("Kubo is ready", self.ready)
        self.id = await self("id", "-f", "<id>")
        listening = (await self("swarm", "addrs", "listen")).split()
        self.addresses = [address for address in listening if address.startswith("/ip4/127.0.0.1/")]

    async def ready(self):
        if self.process.returncode is not None:
            raise RuntimeError(f"Kubo ended with {self.process.returncode}")
        return "Daemon is ready" in self.log.read_text()

    async def __call__(self, *arguments):
        return await output(self.program, *arguments, env=self.env)

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
        self.id = await output(self.program, "id", "--create", "-c", self.config, env=self.env)
        return self

    def write(self, listen_address, tunnels):
        self.config.write_text(
            f'[node]\nidentity = "{self.path}/identity.key"\nlisten_addresses = ["{listen_address}"]\n'
            '[discovery]\ndht = "off"\nmdns = false\n[nat]\nupnp = false\nhole_punching = false\nrelays = "off"\n' + tunnels
        )

    async def start(self, transport, tunnels):
        self.write(LISTEN[transport], tunnels)
        await self.run("run", "-c", self.config, "--socket", self.socket)
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
