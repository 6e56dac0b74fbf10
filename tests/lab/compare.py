"""Watches p2ptun and its relatives do the same things, and says what a client of the tunnel sees, as the table that the
README shows: compare.py README P2PTUN AUTOSSH RATHOLE FRPS FRPC IPFS. Started by compare.sh, which see.

Every tunnel is on loopback, over TCP, from a local port through two daemons to a service. "Far" is the daemon beside the
service. What a tool has no means for is shown as a dash.
"""

import asyncio
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import traceback
from contextlib import AsyncExitStack
from pathlib import Path

from daemons import PATIENCE, Daemon, Kubo, Node, eventually, output

README, P2PTUN, AUTOSSH, RATHOLE, FRPS, FRPC, IPFS = (str(Path(path).resolve()) for path in sys.argv[1:8])
SSH, SSHD, KEYGEN = "/usr/bin/ssh", "/usr/sbin/sshd", "/usr/bin/ssh-keygen"
# How long a client waits for the word that its stream has ended, before that counts as silence.
SILENCE = 10
# How long a tunnel may take to come back by itself.
RETURN = 30
# How long a tool that watches its file may take to notice that it is broken.
NOTICE = 3


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """Hands each connection over to the check, or echoes."""

    async def __aenter__(self):
        self.accepted = asyncio.Queue()
        self.connections = 0
        self.echoes = set()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def serve(self, reader, writer):
        self.connections += 1
        self.accepted.put_nowait((reader, writer))

    async def accept(self):
        async with asyncio.timeout(PATIENCE):
            return await self.accepted.get()

    async def echo(self):
        """Echoes on every connection from here on, until cancelled."""
        while True:
            reader, writer = await self.accepted.get()
            task = asyncio.create_task(echo(reader, writer))
            self.echoes.add(task)
            task.add_done_callback(self.echoes.discard)

    async def __aexit__(self, *_):
        self.server.close()
        for task in list(self.echoes):
            task.cancel()


async def echo(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # The client tells what it missed.
    finally:
        writer.close()


async def dial(port):
    async with asyncio.timeout(PATIENCE):
        return await asyncio.open_connection("127.0.0.1", port)


async def is_alive(stream):
    """Whether an echo comes back."""
    reader, writer = stream
    try:
        async with asyncio.timeout(SILENCE):
            writer.write(b"are you there?")
            return await reader.readexactly(14) == b"are you there?"
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def works(port):
    """Whether a fresh connection to `port` comes out at an echo."""
    try:
        stream = await dial(port)
    except OSError:
        return False
    try:
        return await is_alive(stream)
    finally:
        stream[1].close()


async def ending(reader):
    """What a client is told of the end of its stream."""
    try:
        async with asyncio.timeout(SILENCE):
            while await reader.read(65536):
                pass
            return "looks like an end"
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "stays silent"


async def established(tool, service):
    """A stream through the tunnel, from both of its ends; a byte has gone each way."""
    client = await dial(tool.port)
    client[1].write(b"?")
    far = await service.accept()
    # Whoever only looked whether the tunnel is up has left without a word.
    while await far[0].read(1) != b"?":
        far[1].close()
        far = await service.accept()
    far[1].write(b"!")
    async with asyncio.timeout(PATIENCE):
        assert await client[0].readexactly(1) == b"!"
    return client, far


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# The rows of the table.


async def half_close(tool, service):
    """A client ends its way after 1 MB; the service answers with 5 MB only then."""
    client, far = await established(tool, service)
    answer = os.urandom(5_000_000)

    async def serve():
        assert len(await far[0].read(-1)) == 1_000_000
        far[1].write(answer)
        await far[1].drain()
        far[1].close()

    async def ask():
        client[1].write(bytes(1_000_000))
        client[1].write_eof()
        return await client[0].read(-1)

    try:
        async with asyncio.timeout(PATIENCE):
            _, got = await asyncio.gather(serve(), ask())
        return "kept" if got == answer else "the answer is cut"
    except (OSError, AssertionError, TimeoutError):
        return "the answer is cut"


async def service_resets(tool, service):
    client, far = await established(tool, service)
    reset(far[1])
    return await ending(client[0])


async def service_refuses(tool, service):
    """To a client that waits for the service's greeting: what it had sent unread would make a reset of any end."""
    service.server.close()
    await service.server.wait_closed()
    try:
        client = await dial(tool.port)
    except ConnectionResetError:
        return "reset"
    return await ending(client[0])


async def far_killed(tool, service):
    client, _ = await established(tool, service)
    await tool.kill_far()
    return await ending(client[0])


async def far_returns(tool, service):
    async with echoing(service):
        assert await works(tool.port)
        await tool.kill_far()
        await tool.run_far()
        try:
            await eventually("the tunnel works again", lambda: works(tool.port), within=RETURN)
            return "works again"
        except TimeoutError:
            return "the tunnel is gone"


async def added(tool, service):
    if not hasattr(tool, "add"):
        return "–"
    async with echoing(service), Service() as second, echoing(second):
        stream = await dial(tool.port)
        assert await is_alive(stream)
        port = await tool.add(second.port)
        await eventually("the new tunnel works", lambda: works(port))
        return "goes on" if await is_alive(stream) else "is cut"


async def retargeted(tool, service):
    if not hasattr(tool, "retarget"):
        return "–"
    async with echoing(service), Service() as second, echoing(second):
        stream = await dial(tool.port)
        assert await is_alive(stream)
        await tool.retarget(second.port)

        async def arrived():
            return await works(tool.port) and second.connections > 0

        await eventually("connections reach the new target", arrived)
        return "goes on" if await is_alive(stream) else "is cut"


async def revoked(tool, service):
    if not hasattr(tool, "revoke"):
        return "–"
    async with echoing(service):
        stream = await dial(tool.port)
        assert await is_alive(stream)
        await tool.revoke()
        await asyncio.sleep(NOTICE)
        return "goes on" if await is_alive(stream) else "is cut"


async def broken(tool, service):
    if not hasattr(tool, "break_file"):
        return "–"
    async with echoing(service):
        stream = await dial(tool.port)
        assert await is_alive(stream)
        said = await tool.break_file()
        await asyncio.sleep(NOTICE)
        stays = await is_alive(stream) and await works(tool.port)
        return f"{said}, {'tunnels stay' if stays else 'tunnels are gone'}"


async def stranger(tool, service):
    """A peer that has not been given any right connects to the far daemon."""
    if not hasattr(tool, "lets_in_a_stranger"):
        return "–"
    async with echoing(service):
        return "gets in" if await tool.lets_in_a_stranger() else "is refused"


class echoing:
    """A service that echoes within a `with` block."""

    def __init__(self, service):
        self.service = service

    async def __aenter__(self):
        self.task = asyncio.create_task(self.service.echo())

    async def __aexit__(self, *_):
        self.task.cancel()


ROWS = {
    "a peer without any right": stranger,
    "half-close": half_close,
    "the service resets a connection": service_resets,
    "the service refuses one": service_refuses,
    "the far daemon is killed in mid-stream": far_killed,
    "the far daemon is started again": far_returns,
    "a tunnel is added to the file: an open stream": added,
    "a target is changed in the file: an open stream": retargeted,
    "a peer's right is taken away: its open stream": revoked,
    "the file is broken": broken,
}


# The tools.


class Tool(AsyncExitStack):
    """A tunnel from `self.port` to `self.target`."""

    def __init__(self, service):
        super().__init__()
        self.target = service.port

    async def daemon(self, program):
        return await self.enter_async_context(Daemon(program))

    async def kill_far(self):
        for pid in family(self.far.process.pid):
            os.kill(pid, signal.SIGKILL)
        await self.far.process.wait()


def family(pid):
    """A process and all that came of it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in family(int(child)))]


class P2ptun(Tool):
    name = "p2ptun"

    async def start(self):
        self.far, self.near = [await self.enter_async_context(Node(P2PTUN)) for _ in range(2)]
        self.address = f"/ip4/127.0.0.1/tcp/{free_port()}"
        self.names = {"echo": self.target}
        self.write()
        await self.run_far()
        await self.near.run("run", "-c", self.near.config, "--socket", self.near.socket)
        self.port = await self.bound(self.near, "echo")

    def write(self):
        listens = "".join(
            f'[listen.{name}]\ntarget = "127.0.0.1:{target}"\nallow = ["{self.near.id}"]\n'
            for name, target in self.names.items()
        )
        self.far.write(self.address, listens)
        self.near.write("/ip4/127.0.0.1/tcp/0", "".join(self.forward(name) for name in self.names))

    def forward(self, name):
        peer = f"{self.address}/p2p/{self.far.id}"
        return f'[forward.{name}]\nprotocol = "/x/{name}"\nbind = "127.0.0.1:0"\npeer = "{peer}"\n'

    async def run_far(self):
        await self.far.run("run", "-c", self.far.config, "--socket", self.far.socket)
        await eventually("p2ptun is ready", self.far.ready)

    async def bound(self, node, name):
        await eventually("p2ptun is ready", node.ready)
        return int((await node.tunnel(name))["bind"].rpartition(":")[2])

    async def reload(self, node, code=0):
        await output(P2PTUN, "reload", "--socket", node.socket, env=node.env, code=code)

    async def add(self, target):
        self.names["second"] = target
        self.write()
        await self.reload(self.far)
        await self.reload(self.near)
        return await self.bound(self.near, "second")

    async def retarget(self, target):
        self.names["echo"] = target
        self.write()
        await self.reload(self.far)

    async def revoke(self):
        self.far.config.write_text(self.far.config.read_text().replace(f'allow = ["{self.near.id}"]', "allow = []"))
        await self.reload(self.far)

    async def break_file(self):
        self.far.config.write_text("[listen.echo\n")
        await self.reload(self.far, code=78)
        return "reload fails"

    async def lets_in_a_stranger(self):
        other = await self.enter_async_context(Node(P2PTUN))
        other.write("/ip4/127.0.0.1/tcp/0", self.forward("echo"))
        await other.run("run", "-c", other.config, "--socket", other.socket)
        return await works(await self.bound(other, "echo"))


class Autossh(Tool):
    name = "`ssh -L`, autossh"

    async def start(self):
        self.far, self.near = [await self.daemon(program) for program in (SSHD, AUTOSSH)]
        for key in (self.far.path / "host", self.near.path / "id", self.near.path / "stranger"):
            await output(KEYGEN, "-q", "-t", "ed25519", "-N", "", "-f", str(key), env=self.near.env)
        authorized = self.far.path / "authorized_keys"
        authorized.write_text((self.near.path / "id.pub").read_text())
        self.sshd_port, self.port = free_port(), free_port()
        self.config = self.far.path / "sshd_config"
        self.config.write_text(
            f"Port {self.sshd_port}\nListenAddress 127.0.0.1\nHostKey {self.far.path}/host\n"
            f"AuthorizedKeysFile {authorized}\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPidFile none\nMaxSessions 2000\n"
        )
        await self.run_far()
        self.near.env |= {"AUTOSSH_GATETIME": "0", "AUTOSSH_PATH": SSH}
        await self.near.run("-M", "0", *self.options(self.port, "id"))
        await eventually("ssh listens", lambda: accepts(self.port))

    def options(self, port, key):
        options = {
            "IdentityFile": self.near.path / key, "IdentitiesOnly": "yes", "BatchMode": "yes",
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "ExitOnForwardFailure": "yes",
            "ServerAliveInterval": "5", "ServerAliveCountMax": "3",
        }
        said = [word for option, value in options.items() for word in ("-o", f"{option}={value}")]
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        forward = f"127.0.0.1:{port}:127.0.0.1:{self.target}"
        return ["-F", "none", "-N", "-p", str(self.sshd_port), *said, "-L", forward, f"{user}@127.0.0.1"]

    async def run_far(self):
        Path("/run/sshd").mkdir(exist_ok=True)
        await self.far.run("-D", "-e", "-f", self.config)
        await eventually("sshd listens", lambda: accepts(self.sshd_port))

    async def revoke(self):
        (self.far.path / "authorized_keys").write_text("")
        self.far.process.send_signal(signal.SIGHUP)

    async def lets_in_a_stranger(self):
        port, other = free_port(), await self.daemon(SSH)
        await other.run(*self.options(port, "stranger"))
        async with asyncio.timeout(PATIENCE):
            return await other.process.wait() == 0


async def accepts(port):
    try:
        (await dial(port))[1].close()
        return True
    except OSError:
        return False


class Rathole(Tool):
    """Has no peers at the near end: whoever reaches the server's port is led through. So with frp's TCP proxies."""

    name = "rathole"

    async def start(self):
        self.near, self.far = [await self.daemon(RATHOLE) for _ in range(2)]
        self.control, self.port = free_port(), free_port()
        keys = await output(RATHOLE, "--genkey", env=self.far.env)
        self.private, self.public = re.findall(r"^\S+=$", keys, re.MULTILINE)
        self.services = {"echo": (self.port, self.target)}
        self.write()
        await self.near.run("--server", self.near.path / "rathole.toml")
        await self.run_far()
        await eventually("rathole is up", lambda: accepts(self.port))

    def write(self):
        binds = "".join(
            f'[server.services.{name}]\nbind_addr = "127.0.0.1:{bind}"\n' for name, (bind, _) in self.services.items()
        )
        locals_ = "".join(
            f'[client.services.{name}]\nlocal_addr = "127.0.0.1:{at}"\n' for name, (_, at) in self.services.items()
        )
        (self.near.path / "rathole.toml").write_text(
            f'[server]\nbind_addr = "127.0.0.1:{self.control}"\ndefault_token = "t"\n[server.transport]\ntype = "noise"\n'
            f'[server.transport.noise]\nlocal_private_key = "{self.private}"\n{binds}'
        )
        (self.far.path / "rathole.toml").write_text(
            f'[client]\nremote_addr = "127.0.0.1:{self.control}"\ndefault_token = "t"\n[client.transport]\ntype = "noise"\n'
            f'[client.transport.noise]\nremote_public_key = "{self.public}"\n{locals_}'
        )

    async def run_far(self):
        await self.far.run("--client", self.far.path / "rathole.toml")

    async def add(self, target):
        port = free_port()
        self.services["second"] = (port, target)
        self.write()
        return port

    async def retarget(self, target):
        self.services["echo"] = (self.port, target)
        self.write()

    async def break_file(self):
        (self.far.path / "rathole.toml").write_text("[client\n")

        async def told():
            return "configuration is invalid" in self.far.log.read_text()

        await eventually("rathole says that the file is broken", told)
        return "logged"


class Frp(Tool):
    name = "frp"

    async def start(self):
        self.near, self.far = await self.daemon(FRPS), await self.daemon(FRPC)
        self.control, self.admin, self.port = free_port(), free_port(), free_port()
        self.proxies = {"echo": (self.port, self.target)}
        (self.near.path / "frps.toml").write_text(
            f'bindAddr = "127.0.0.1"\nproxyBindAddr = "127.0.0.1"\nbindPort = {self.control}\nauth.token = "t"\n'
        )
        self.config = self.far.path / "frpc.toml"
        self.write()
        await self.near.run("-c", self.near.path / "frps.toml")
        await eventually("frps listens", lambda: accepts(self.control))
        await self.run_far()
        await eventually("frp is up", lambda: accepts(self.port))

    def write(self):
        proxies = "".join(
            f'[[proxies]]\nname = "{name}"\ntype = "tcp"\nlocalIP = "127.0.0.1"\nlocalPort = {at}\nremotePort = {bind}\n'
            for name, (bind, at) in self.proxies.items()
        )
        self.config.write_text(
            f'serverAddr = "127.0.0.1"\nserverPort = {self.control}\nauth.token = "t"\nloginFailExit = false\n'
            f'webServer.addr = "127.0.0.1"\nwebServer.port = {self.admin}\n{proxies}'
        )

    async def run_far(self):
        await self.far.run("-c", self.config)

    async def reload(self, code=0):
        await output(FRPC, "reload", "-c", str(self.config), env=self.far.env, code=code)

    async def add(self, target):
        port = free_port()
        self.proxies["second"] = (port, target)
        self.write()
        await self.reload()
        return port

    async def retarget(self, target):
        self.proxies["echo"] = (self.port, target)
        self.write()
        await self.reload()

    async def break_file(self):
        good = self.config.read_text()
        self.config.write_text(good.replace("[[proxies]]", "[[proxies"))
        await self.reload(code=1)
        return "reload fails"


class IpfsP2p(Tool):
    name = "`ipfs p2p`"

    async def start(self):
        self.far, self.near = [await self.enter_async_context(Kubo(IPFS)) for _ in range(2)]
        for node in (self.far, self.near):
            await node.start("tcp", f"/ip4/127.0.0.1/tcp/{free_port()}")
        await self.far("p2p", "listen", "/x/echo", f"/ip4/127.0.0.1/tcp/{self.target}")
        self.port = await self.forward(self.near)

    async def forward(self, node):
        await node("swarm", "connect", f"{self.far.addresses[0]}/p2p/{self.far.id}")
        return await node.forward("/x/echo", self.far.id)

    async def run_far(self):
        (self.far.path / "ipfs/repo.lock").unlink(missing_ok=True)
        (self.far.path / "ipfs/api").unlink(missing_ok=True)
        self.far.log.unlink()
        await self.far.run("daemon")
        await eventually("Kubo is ready", self.far.ready)
        await self.near("swarm", "connect", f"{self.far.addresses[0]}/p2p/{self.far.id}")

    async def lets_in_a_stranger(self):
        other = await self.enter_async_context(Kubo(IPFS))
        await other.start("tcp", f"/ip4/127.0.0.1/tcp/{free_port()}")
        return await works(await self.forward(other))


TOOLS = [P2ptun, Autossh, Rathole, Frp, IpfsP2p]


async def observe(tool, row):
    async with Service() as service, tool(service) as running:
        try:
            await running.start()
            return await ROWS[row](running, service)
        except Exception as error:
            traceback.print_exc()
            raise RuntimeError(f"{tool.name}, {row}: {error!r}") from error


def line(cells):
    return f"| {' | '.join(cells)} |"


async def main():
    readme = Path(README).read_text().splitlines()
    passed = failed = 0
    head = line(["", *(tool.name for tool in TOOLS)])
    print(head, line(["---"] * (len(TOOLS) + 1)), sep="\n", flush=True)
    if head not in readme:
        print("     the README has no such table")
        failed += 1
    for row in ROWS:
        seen = line([row, *[await observe(tool, row) for tool in TOOLS]])
        print(seen, flush=True)
        if seen in readme:
            passed += 1
        else:
            failed += 1
            said = [said for said in readme if said.startswith(f"| {row} |")]
            print(f"     the README says: {said or 'nothing'}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
