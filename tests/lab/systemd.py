"""Checks p2ptun under a real systemd. Started by systemd.sh within namespaces, which see."""

import asyncio
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import traceback
from contextlib import asynccontextmanager
from pathlib import Path

TREE = Path("/run/tree")
BUILT = TREE / "target/release/p2ptun"
PATIENCE = 60
STREAMS = 100
CONFIG = Path("/etc/p2ptun.toml")
DROP_INS = Path("/etc/systemd/system/p2ptun.service.d")
UNIT = "/etc/systemd/system/p2ptun.service"
ECHO = 2201
QUIET = '[discovery]\ndht = "off"\nmdns = false\n[nat]\nupnp = false\nhole_punching = false\nrelays = "off"\n'


async def output(*command, code=0, env=None):
    """What a command says, on both of its outputs; it must end with `code`."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise TimeoutError(f"{command} does not end") from None
    assert process.returncode == code, f"{command} exits {process.returncode}: {out.decode()}"
    return out.decode().strip()


async def eventually(what, ask):
    """Asks until the answer is true, and returns it."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not (answer := await ask()):
                await asyncio.sleep(0.05)
            return answer
    except TimeoutError:
        raise TimeoutError(f"not within {PATIENCE} s: {what}") from None


async def show(*names):
    """Properties of the unit."""
    lines = (await output("systemctl", "show", "p2ptun", *(f"--property={name}" for name in names))).splitlines()
    found = dict(line.split("=", 1) for line in lines)
    return found[names[0]] if len(names) == 1 else tuple(found[name] for name in names)


async def status_line():
    """What `systemctl status` shows of what the running service says."""
    return re.search(r'Status: "(.*)"', await output("systemctl", "status", "p2ptun")).group(1)


async def is_active():
    return await show("ActiveState") == "active"


async def status():
    return json.loads(await output("p2ptun", "status", "--json"))


async def tunnel(name):
    return next(tunnel for tunnel in (await status())["tunnels"] if tunnel["name"] == name)


async def journal():
    await output("journalctl", "--sync")
    return await output("journalctl", "--unit=p2ptun", "--output=cat", "--no-pager")


async def entries(**fields):
    """Entries of the journal that have these fields, each as a table."""
    await output("journalctl", "--sync")
    matches = [f"{name}={value}" for name, value in fields.items()]
    lines = await output("journalctl", "_SYSTEMD_UNIT=p2ptun.service", *matches, "--output=json", "--no-pager")
    return [json.loads(line) for line in lines.splitlines()]


async def drop_in(name, text=None):
    """Puts a drop-in in place, or takes it away."""
    DROP_INS.mkdir(exist_ok=True)
    path = DROP_INS / f"{name}.conf"
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    await output("systemctl", "daemon-reload")


def forward(name, bind):
    return f'[forward.{name}]\nprotocol = "/x/echo"\nbind = "{bind}"\npeer = "far"\n'


class Far:
    """The node that the service's tunnels lead to, and the echo service behind it. Runs beside systemd, not under it."""

    async def __aenter__(self):
        self.folder = Path("/run/far")
        self.folder.mkdir()
        self.echo = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.echo_port = self.echo.sockets[0].getsockname()[1]
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "NO_COLOR": "1"}
        self.log = open(self.folder / "log", "wb")
        self.config = self.folder / "p2ptun.toml"
        self.write("")
        self.id = await output(BUILT, "id", "--create", "-c", self.config, env=self.env)
        self.process = None
        return self

    def write(self, tunnels):
        self.config.write_text(
            f'[node]\nidentity = "{self.folder}/identity.key"\nlisten_addresses = ["/ip4/127.0.0.1/tcp/0"]\n'
            f"{QUIET}{tunnels}"
        )

    async def start(self, own):
        """Serves the node `own`."""
        self.write(f'[listen.echo]\ntarget = "127.0.0.1:{self.echo_port}"\nallow = ["{own}"]\n')
        socket = self.folder / "control.sock"
        self.process = await asyncio.create_subprocess_exec(
            *(BUILT, "run", "-c", self.config, "--socket", socket), env=self.env, stdout=self.log, stderr=self.log
        )

        async def listening():
            if self.process.returncode is not None:
                raise RuntimeError((self.folder / "log").read_text())
            if not socket.exists():
                return None
            return json.loads(await output(BUILT, "status", "--json", "--socket", socket))["addresses"]

        self.address = (await eventually("the far node listens", listening))[0].split("/p2p/")[0]

    def peer(self):
        return f'[peers.far]\nid = "{self.id}"\naddresses = ["{self.address}"]\n'

    async def serve(self, reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # The client tells how it ended.
        finally:
            writer.close()

    async def __aexit__(self, *_):
        self.echo.close()
        if self.process:
            self.process.kill()
            await self.process.wait()
        self.log.close()


class Client:
    """A connection through the tunnel that has been answered once."""

    @classmethod
    async def connect(cls, port=ECHO):
        client = cls()
        async with asyncio.timeout(PATIENCE):
            client.reader, client.writer = await asyncio.open_connection("127.0.0.1", port)
            await client.ping()
        return client

    async def ping(self):
        async with asyncio.timeout(PATIENCE):
            self.writer.write(b"are you there?")
            assert await self.reader.readexactly(14) == b"are you there?"

    async def end(self):
        """Says its last word; the answer must come, and an end after it."""
        async with asyncio.timeout(PATIENCE):
            self.writer.write(b"good bye")
            self.writer.write_eof()
            assert await self.reader.read() == b"good bye"
        self.writer.close()

    async def fate(self):
        """How it ends for one who only waits."""
        async with asyncio.timeout(PATIENCE):
            try:
                return "end" if await self.reader.read() == b"" else "bytes"
            except ConnectionResetError:
                return "reset"
            finally:
                self.writer.close()


class Threads:
    """Holds threads of a process still, as if they were stuck, while the others go on."""

    SEIZE, INTERRUPT = 0x4206, 0x4207

    def __init__(self, pid, chosen):
        self.pid = int(pid)
        self.ids = [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir() if chosen(int(thread.name))]
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def hold(self):
        assert self.ids
        for thread in self.ids:
            for request in (self.SEIZE, self.INTERRUPT):
                if self.libc.ptrace(request, thread, None, None) == -1:
                    raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of {thread}")

    def bury(self):
        """Takes note of their deaths, without which the process would stay a zombie of ours."""
        for thread in self.ids:
            try:
                os.waitpid(thread, 0x40000000 | os.WNOHANG)  # __WALL
            except ChildProcessError:
                pass


class Tally:
    passed = failed = 0

    @asynccontextmanager
    async def check(self, name):
        try:
            yield
        except Exception as error:  # whatever it is, the other checks still have their turn
            self.failed += 1
            print(f"FAIL {name}: {error!r}", flush=True)
            traceback.print_exc()
            return
        self.passed += 1
        print(f"ok   {name}", flush=True)


def readme(number):
    """The commands of a console block in the README's section about systemd."""
    section = (TREE / "README.md").read_text().split("\n### As a service of systemd\n", 1)[1].split("\n## ", 1)[0]
    block = re.findall(r"```console\n(.*?)```", section, re.DOTALL)[number]
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


async def read_aloud(commands):
    """Runs commands of the README in their order, as root and in a clone that has been built."""
    script = "\n".join(command for command in commands if not command.startswith("cargo "))
    await output("bash", "-euc", f'sudo() {{ "$@"; }}\ncd {TREE}\n{script}')


async def analyze(threshold):
    await output("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", UNIT)
    await output("systemd-analyze", "security", "--offline=yes", f"--threshold={threshold}", UNIT)


async def installed_by_the_readme(tally, far):
    async with tally.check("the README's commands install it and make its key"):
        commands = readme(0)
        start = next(number for number, command in enumerate(commands) if "systemctl enable" in command)
        await read_aloud(commands[:start])
        own = await output("p2ptun", "id")
        await far.start(own)
        write(far, forward("echo", f"127.0.0.1:{ECHO}"))
    async with tally.check("the unit verifies clean, and its score is at most 1.2"):
        await analyze(12)
    async with tally.check("a start returns when the sockets are bound"):
        await read_aloud(commands[start:])
        reader, writer = await asyncio.open_connection("127.0.0.1", ECHO)
        writer.close()
        assert await is_active()
        assert await output("systemctl", "is-enabled", "p2ptun") == "enabled"
        assert (await status())["peer_id"] == own, "it took another key than the README made"
        key = Path("/var/lib/p2ptun/identity.key")
        assert (key.owner(), stat.S_IMODE(key.stat().st_mode)) == ("p2ptun", 0o600)
    async with tally.check("bytes go through the tunnel"):
        await (await Client.connect()).end()
    async with tally.check("systemctl status shows the counts"):
        client = await Client.connect()

        async def counted():
            return await status_line() == "1 tunnel ready; 1 stream; 1 of 1 peer connected"

        await eventually("the counts are shown", counted)
        await client.end()
    async with tally.check("the journal has what it says, and the sandbox no quarrel with it"):
        lines = await journal()
        assert "ready" in lines and "configuration applied" in lines, lines
        for quarrel in ("can't raise", "can't tell the service manager", "Operation not permitted", "panicked"):
            assert quarrel not in lines, lines
    async with tally.check("the journal can be asked by field, and has levels and not only lines"):
        (up,) = await entries(P2PTUN_EVENT="tunnel up", P2PTUN_TUNNEL="echo")
        assert up["SYSLOG_IDENTIFIER"] == "p2ptun" and up["PRIORITY"] == "6", up
        assert up["P2PTUN_BIND"] == f"127.0.0.1:{ECHO}" and up["MESSAGE"].startswith("tunnel up "), up
        (came,) = await entries(P2PTUN_EVENT="peer connected", P2PTUN_PEER=far.id)
        assert came["P2PTUN_PEER_NAME"] == "far" and came["P2PTUN_PATH"] == "direct", came
    async with tally.check("the soft limit of open files is the hard one"):
        limits = Path(f"/proc/{await show('MainPID')}/limits").read_text()
        # No more than the machine that the lab runs on may open.
        soft, hard = re.search(r"Max open files\s+(\d+)\s+(\d+)", limits).groups()
        assert soft == hard, limits


def write(far, tunnels, top="", node=""):
    CONFIG.write_text(
        f'watch = false\n{top}[node]\nlisten_addresses = ["/ip4/127.0.0.1/tcp/0"]\n{node}{QUIET}{far.peer()}{tunnels}'
    )


async def reloads(tally, far):
    echo = forward("echo", f"127.0.0.1:{ECHO}")
    client = await Client.connect()
    async with tally.check("a reload returns when the new set is applied"):
        write(far, echo + forward("more", "127.0.0.1:2202"))
        await output("systemctl", "reload", "p2ptun")
        await (await Client.connect(2202)).end()
        write(far, echo)
        await output("systemctl", "reload", "p2ptun")
        try:
            await asyncio.open_connection("127.0.0.1", 2202)
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError("the port of a tunnel that is no longer declared is still open")
    async with tally.check("a reload of a broken file fails, and the service goes on and says why"):
        CONFIG.write_text("watch = false\nnonsense = 1\n")
        await output("systemctl", "reload", "p2ptun", code=1)
        assert await output("systemctl", "is-active", "p2ptun") == "active"
        shown = await status_line()
        assert "refused: /etc/p2ptun.toml:2:1: error: unknown key `nonsense`" in shown, shown
        await client.ping()
        await (await Client.connect()).end()
    async with tally.check("once it is mended, nothing is wrong any more"):
        write(far, echo)
        await output("systemctl", "reload", "p2ptun")
        shown = await status_line()
        assert "refused" not in shown, shown
    async with tally.check("200 reloads in a row, good, bad and by SIGHUP, never leave it reloading"):
        for number in range(200):
            good = number % 3 != 1
            if good:
                write(far, echo + (forward("more", "127.0.0.1:2202") if number % 2 else ""))
            else:
                CONFIG.write_text("nonsense = 1\n")
            if number % 5 == 4:
                await output("systemctl", "kill", "--signal=HUP", "--kill-whom=main", "p2ptun")
            await output("systemctl", "reload", "p2ptun", code=0 if good else 1)
            assert await output("systemctl", "is-active", "p2ptun") == "active", f"after reload {number}"
        write(far, echo)
        await output("systemctl", "reload", "p2ptun")

        async def idle():
            return await show("SubState") == "running" and "No jobs" in await output("systemctl", "list-jobs")

        # A SIGHUP that nobody waits for may still be under way.
        await eventually("the unit runs and nothing else", idle)
    async with tally.check("the stream that lived through all of that is whole"):
        await client.ping()
        await client.end()
        assert await show("NRestarts") == "0"


async def access(tally, _):
    Path("/etc/sysusers.d/lab.conf").write_text("u stranger -\nu member -\nm member p2ptun\ng web -\n")
    await output("systemd-sysusers")
    as_user = ("setpriv", "--init-groups", "--reuid")
    async with tally.check("another user gets exit 77 and the name of the group"):
        for command in ("status", "reload"):
            said = await output(*as_user, "stranger", "--regid", "stranger", "p2ptun", command, code=77)
            assert "group `p2ptun`" in said and "usermod -aG p2ptun" in said, said
    async with tally.check("a member of the group is answered"):
        await output(*as_user, "member", "--regid", "member", "p2ptun", "status")
    async with tally.check("without the service, the same stranger gets exit 69"):
        await output("systemctl", "stop", "p2ptun")
        await output(*as_user, "stranger", "--regid", "stranger", "p2ptun", "status", code=69)
        await output("systemctl", "start", "p2ptun")


async def sandbox(tally, far):
    echo = forward("echo", f"127.0.0.1:{ECHO}")
    async with tally.check("names, includes, unix targets and unix binds work in the sandbox"):
        Path("/etc/p2ptun.d").mkdir()
        Path("/etc/p2ptun.d/more.toml").write_text(forward("named", "localhost:2203"))
        Path("/run/lab").mkdir()
        unix = await asyncio.start_unix_server(far.serve, "/run/lab/echo.sock")
        Path("/run/lab/echo.sock").chmod(0o666)
        own = (await status())["peer_id"]
        here = (
            '[listen.local]\nprotocol = "/x/here"\ntarget = "unix:/run/lab/echo.sock"\nallow = []\n'
            f'[forward.here]\nprotocol = "/x/here"\nbind = "unix:/run/p2ptun/here.sock"\npeer = "{own}"\n'
        )
        write(far, echo + here, top='include = ["p2ptun.d/*.toml"]\n')
        CONFIG.chmod(0o640)
        shutil.chown(CONFIG, group="p2ptun")
        await output("systemctl", "reload", "p2ptun")
        await (await Client.connect(2203)).end()
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection("/run/p2ptun/here.sock")
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
        unix.close()
    async with tally.check("a socket where the sandbox lets none be made fails alone, and says so"):
        write(far, echo + forward("outside", "unix:/srv/outside.sock"))
        await output("systemctl", "reload", "p2ptun")
        outside = await tunnel("outside")
        assert outside["state"] == "failed" and "Read-only file system" in outside["error"], outside
        await (await Client.connect()).end()
    async with tally.check("where it may write by a drop-in, it can be made"):
        Path("/srv/sockets").mkdir()
        shutil.chown("/srv/sockets", "p2ptun", "p2ptun")
        await drop_in("paths", "[Service]\nReadWritePaths=/srv/sockets\n")
        write(far, echo + forward("outside", "unix:/srv/sockets/outside.sock"))
        await output("systemctl", "restart", "p2ptun")
        assert (await tunnel("outside"))["state"] == "ready", await tunnel("outside")
        await drop_in("paths")
    async with tally.check("a port below 1024 fails alone, until the system lets anyone have it"):
        write(far, echo + forward("low", "127.0.0.1:80"))
        await output("systemctl", "reload", "p2ptun")
        low = await tunnel("low")
        assert low["state"] == "failed" and "Permission denied" in low["error"], low
        # Of the lab's own network.
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("80")
        await output("systemctl", "reload", "p2ptun")
        await (await Client.connect(80)).end()


async def groups(tally, far):
    echo = forward("echo", f"127.0.0.1:{ECHO}")
    declared = forward("web", "unix:/run/p2ptun/web.sock") + 'bind_mode = "0660"\nbind_group = "web"\n'
    async with tally.check("without the drop-in a bind_group fails alone, and names the drop-in"):
        write(far, echo + declared)
        await output("systemctl", "reload", "p2ptun")
        failed = await tunnel("web")
        assert failed["state"] == "failed" and "unix-groups.conf" in failed["error"], failed
        assert not Path("/run/p2ptun/web.sock").exists()
        assert "web: can't give /run/p2ptun/web.sock to the group web" in await status_line()
        await (await Client.connect()).end()
    async with tally.check("membership without the drop-in is not enough, and the drop-in is still named"):
        await output("usermod", "-aG", "web", "p2ptun")
        await output("systemctl", "restart", "p2ptun")
        failed = await tunnel("web")
        assert failed["state"] == "failed" and "unix-groups.conf" in failed["error"], failed
    async with tally.check("with the drop-in, as the README puts it in place, it works"):
        await read_aloud(readme(1))
        assert (await tunnel("web"))["state"] == "ready", await tunnel("web")
        web = Path("/run/p2ptun/web.sock")
        assert (web.group(), stat.S_IMODE(web.stat().st_mode)) == ("web", 0o660)
        await (await Client.connect()).end()
    async with tally.check("with the drop-in the unit verifies clean, and its score is at most 1.5"):
        await analyze(15)
        try:
            await analyze(12)
        except AssertionError:
            pass
        else:
            raise AssertionError("the drop-in was left out of the score")
    await drop_in("unix-groups")
    write(far, echo)
    await output("systemctl", "restart", "p2ptun")


async def restarts(tally, _):
    async def restarted(before):
        async def again():
            state, pid, number = await show("ActiveState", "MainPID", "NRestarts")
            return state == "active" and pid not in ("0", before) and number

        number = await eventually("systemd starts it again", again)
        await (await Client.connect()).end()
        return number

    async with tally.check("after a kill -9 it is started again"):
        before = await show("MainPID")
        await output("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "p2ptun")
        assert await restarted(before) == "1"
    await drop_in("watchdog", "[Service]\nWatchdogSec=2s\nRestartSec=100ms\n")
    await output("systemctl", "restart", "p2ptun")
    async with tally.check("the watchdog leaves a service alone that works"):
        before = await show("MainPID")
        first = await show("WatchdogTimestampMonotonic")
        seen = set()

        async def pinged():
            seen.add(await show("WatchdogTimestampMonotonic"))
            return len(seen - {first}) >= 4

        await eventually("four signs of life", pinged)
        assert await show("MainPID", "NRestarts") == (before, "0")
    stuck = {
        "a process that is stopped": None,
        "a loop that is stuck while its workers go on": lambda pid: lambda thread: thread == pid,
        "workers that are stuck while the loop's own thread is not": lambda pid: lambda thread: thread != pid,
    }
    for what, chosen in stuck.items():
        async with tally.check(f"the watchdog notices {what}"):
            await output("systemctl", "reset-failed", "p2ptun")
            before = await show("MainPID")
            timeouts = (await journal()).count("Watchdog timeout")
            threads = None
            if chosen is None:
                os.kill(int(before), signal.SIGSTOP)
            else:
                threads = Threads(before, chosen(int(before)))
                threads.hold()

            async def noticed():
                if threads:
                    threads.bury()
                return (await journal()).count("Watchdog timeout") > timeouts

            await eventually("the watchdog's time is over", noticed)

            async def gone():
                if threads:
                    threads.bury()
                return await show("MainPID") != before

            await eventually("it is ended", gone)
            await restarted(before)
    await drop_in("watchdog")
    await output("systemctl", "restart", "p2ptun")


async def long_starts(tally, far):
    # A name server that never answers, so that each bind by name takes its whole time.
    silence = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silence.bind(("127.0.0.9", 53))
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    Path("/etc/resolv.conf").write_text("nameserver 127.0.0.9\n")
    Path("/etc/nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    names = "".join(forward(f"name-{number}", f"name-{number}.example:{3000 + number}") for number in range(320))
    await drop_in("start", "[Service]\nTimeoutStartSec=6s\n")
    async with tally.check("a start that gets on may take longer than TimeoutStartSec"):
        write(far, forward("echo", f"127.0.0.1:{ECHO}") + names)
        began = asyncio.get_running_loop().time()
        await output("systemctl", "restart", "p2ptun")
        took = asyncio.get_running_loop().time() - began
        assert took > 7, f"it took only {took} s"
        assert "1 tunnel ready, 320 failed" in await status_line(), await status_line()
        await (await Client.connect()).end()
    async with tally.check("a stop in the midst of one is clean"):
        await output("systemctl", "stop", "p2ptun")
        await output("systemctl", "start", "--no-block", "p2ptun")

        async def catches_signals():
            of_process = Path(f"/proc/{await show('MainPID')}/status")
            caught = re.search(r"SigCgt:\s+(\w+)", of_process.read_text()) if of_process.exists() else None
            return caught and int(caught.group(1), 16) >> (signal.SIGTERM - 1) & 1

        await eventually("it catches SIGTERM", catches_signals)
        assert await show("ActiveState") == "activating"
        await output("systemctl", "stop", "p2ptun")
        assert await show("ActiveState", "Result", "ExecMainStatus") == ("inactive", "success", "0")
    silence.close()
    await drop_in("start")
    write(far, forward("echo", f"127.0.0.1:{ECHO}"))
    await output("systemctl", "restart", "p2ptun")


async def stopping(tally, far):
    echo = forward("echo", f"127.0.0.1:{ECHO}")
    outcome = ("ActiveState", "Result", "ExecMainCode", "ExecMainStatus")
    clean = ("inactive", "success", "1", "0")
    await drop_in("stop", "[Service]\nTimeoutStopSec=2s\n")
    async with tally.check(f"a stop with {STREAMS} streams outlasts TimeoutStopSec: half end clean, the rest are reset"):
        write(far, echo, node='stop_timeout = "18s"\n')
        await output("systemctl", "restart", "p2ptun")
        clients = await asyncio.gather(*(Client.connect() for _ in range(STREAMS)))
        began = asyncio.get_running_loop().time()
        await output("systemctl", "stop", "--no-block", "p2ptun")

        async def drains():
            return (await show("StatusText")).startswith("stopping; ")

        await eventually("it says that it stops", drains)
        await asyncio.gather(*(client.end() for client in clients[::2]))
        fates = await asyncio.gather(*(client.fate() for client in clients[1::2]))
        took = asyncio.get_running_loop().time() - began
        assert fates == ["reset"] * (STREAMS // 2), fates
        assert took > 17, f"the rest had {took} s"

        async def over():
            return await show("ActiveState") not in ("active", "deactivating")

        await eventually("the unit is down", over)
        assert await show(*outcome) == clean, await show(*outcome)
    async with tally.check("a stop with streams that end in time takes no longer than they do"):
        await output("systemctl", "start", "p2ptun")
        client = await Client.connect()
        began = asyncio.get_running_loop().time()
        stop = asyncio.create_task(output("systemctl", "stop", "p2ptun"))
        await client.end()
        await stop
        took = asyncio.get_running_loop().time() - began
        assert took < 15, f"it took {took} s"
        assert await show(*outcome) == clean, await show(*outcome)
    async with tally.check("told a second time, it ends at once, and clean for systemd"):
        await output("systemctl", "start", "p2ptun")
        client = await Client.connect()
        began = asyncio.get_running_loop().time()
        stop = asyncio.create_task(output("systemctl", "stop", "p2ptun"))
        await eventually("it drains", drains)
        await output("systemctl", "kill", "--signal=TERM", "--kill-whom=main", "p2ptun")
        await stop
        took = asyncio.get_running_loop().time() - began
        assert took < 15, f"it took {took} s"
        assert await client.fate() == "reset"
        assert await show(*outcome) == clean, await show(*outcome)
    await drop_in("stop")
    async with tally.check("a restart brings it back"):
        write(far, echo)
        await output("systemctl", "restart", "p2ptun")
        await (await Client.connect()).end()


async def refused_starts(tally, far):
    outcome = ("ActiveState", "SubState", "ExecMainStatus", "NRestarts")
    for name, text, unit, exit in (
        ("a broken file", "nonsense = 1\n", "", "78"),
        ("a broken command line", "", "[Service]\nExecStart=\nExecStart=/usr/bin/p2ptun run --nonsense\n", "64"),
    ):
        async with tally.check(f"{name} at the start is exit {exit}, and not tried again"):
            await output("systemctl", "stop", "p2ptun")
            CONFIG.write_text(text)
            await drop_in("start", unit)
            await output("systemctl", "reset-failed", "p2ptun")
            await output("systemctl", "start", "p2ptun", code=1)
            assert await show(*outcome) == ("failed", "failed", exit, "0"), await show(*outcome)
            await drop_in("start")
    async with tally.check("why it did not start is an error in the journal"):
        errors = [entry["MESSAGE"] for entry in await entries(PRIORITY="3")]
        assert "p2ptun: /etc/p2ptun.toml: 1 error" in errors, errors
    async with tally.check("mended, it starts"):
        write(far, forward("echo", f"127.0.0.1:{ECHO}"))
        await output("systemctl", "start", "p2ptun")
        await (await Client.connect()).end()


SCENARIOS = (installed_by_the_readme, reloads, access, sandbox, groups, restarts, long_starts, stopping, refused_starts)


async def main():
    tally = Tally()
    async with Far() as far:
        for scenario in SCENARIOS:
            before = tally.passed + tally.failed
            try:
                await scenario(tally, far)
            except Exception as error:
                tally.failed += 1
                print(f"FAIL {scenario.__name__}: {error!r}", flush=True)
                traceback.print_exc()
            if tally.passed + tally.failed == before:
                raise RuntimeError(f"{scenario.__name__} checked nothing")
        if tally.failed:
            print(f"     --- the service wrote:\n{await journal()}\n     --- the far node wrote:")
            print((far.folder / "log").read_text(), flush=True)
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
