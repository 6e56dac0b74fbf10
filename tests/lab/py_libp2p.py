"""Checks p2ptun against py-libp2p: py_libp2p.py PYTHON PROGRAM P2PTUN. Started by py_libp2p.sh, which see."""

import asyncio
import sys
from functools import partial

import daemons
from library import Player, library_dials, library_serves
from tally import Tally
from tap import NOISE, TLS
from traffic import many_sockets

Py, Node = partial(Player, *sys.argv[1:3]), partial(daemons.Node, sys.argv[3])


async def main():
    many_sockets()
    tally = Tally()
    for security, agreed in {"noise": NOISE, "tls": TLS}.items():
        for part, scenario in {"py serves": library_serves, "py dials": library_dials}.items():
            name = f"TCP with {security}, {part}"
            await tally.scenario(name, scenario(tally, name, Py(), Node, security, agreed))
    return tally.result()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
