#!/usr/bin/env bash
# Checks p2ptun against js-libp2p, over TCP with TLS and with Noise and over QUIC, with either as the dialer. All on loopback.
#
#   js.sh            installs js-libp2p, builds p2ptun and runs every check; the last line is "N passed, N failed"
#
# P2PTUN names a p2ptun to use instead of building one. Needs Node 20 or newer, npm and Python 3.11.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lab/build.sh
source "$here/build.sh"

js=$(js)
p2ptun=${P2PTUN:-$(p2ptun)}
exec python3 "$here/js.py" "$(command -v node)" "$js/node.mjs" "$p2ptun"
