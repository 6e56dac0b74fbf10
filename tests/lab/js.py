"""Checks p2ptun against js-libp2p: js.py NODE PROGRAM P2PTUN. Started by js.sh, which see."""

import asyncio
import sys
from functools import partial

import daemons
from library import Player, library_dials, library_serves
from tally import Tally
from tap import NOISE, TLS
from traffic import many_sockets

LINES = {"tls": ("TCP with TLS", TLS), "noise": ("TCP with Noise", NOISE), "quic": ("QUIC", None)}

Js, Node = partial(Player, *sys.argv[1:3]), partial(daemons.Node, sys.argv[3])


async def main():
    many_sockets()
    tally = Tally()
    for line, (called, agreed) in LINES.items():
        for part, scenario in {"js serves": library_serves, "js dials": library_dials}.items():
            name = f"{called}, {part}"
            await tally.scenario(name, scenario(tally, name, Js(), Node, line, agreed))
    return tally.result()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
