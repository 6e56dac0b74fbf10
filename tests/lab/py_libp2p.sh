#!/usr/bin/env bash
# Checks p2ptun against py-libp2p, over TCP with TLS and with Noise, with either as the dialer. All on loopback.
#
#   py_libp2p.sh     installs py-libp2p, builds p2ptun and runs every check; the last line is "N passed, N failed"
#
# P2PTUN names a p2ptun to use instead of building one. Needs Python 3.11 with venv, a C compiler, libgmp-dev and
# python3-dev.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lab/build.sh
source "$here/build.sh"

python=$(py_libp2p)
p2ptun=${P2PTUN:-$(p2ptun)}
exec python3 "$here/py_libp2p.py" "$python" "$here/py_libp2p/node.py" "$p2ptun"
