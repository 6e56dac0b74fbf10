"""A relay of TCP connections on loopback, which overhears what two peers agree on before they encrypt."""

import asyncio

TLS, NOISE = "/tls/1.0.0", "/noise"


class Tap:
    """Leads to a TCP multiaddr. `agreed` lists the security protocol of each connection."""

    def __init__(self, address):
        _, ip, host, tcp, self.port, *_ = address.split("/")
        assert (ip, host, tcp) == ("ip4", "127.0.0.1", "tcp"), address

    async def __aenter__(self):
        self.agreed = []
        self.tasks = set()
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", 0)
        self.address = f"/ip4/127.0.0.1/tcp/{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def accept(self, dialer, to_dialer):
        self.tasks.add(task := asyncio.create_task(self.relay(dialer, to_dialer)))
        task.add_done_callback(self.tasks.discard)

    async def relay(self, dialer, to_dialer):
        listener, to_listener = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(copy(dialer, to_listener))
                both.create_task(self.overhear(listener, to_dialer))
        except* (OSError, asyncio.IncompleteReadError):
            pass  # The peers tell what they missed.
        finally:
            to_dialer.close()
            to_listener.close()

    async def overhear(self, listener, to_dialer):
        """What the listener repeats is agreed: each message of multistream-select is its length and a line."""
        while True:
            message = await listener.readexactly((await listener.readexactly(1))[0])
            to_dialer.write(bytes([len(message)]) + message)
            if (word := message.decode().rstrip("\n")) not in ("/multistream/1.0.0", "na"):
                break
        self.agreed.append(word)
        await copy(listener, to_dialer)


async def copy(reader, writer):
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
