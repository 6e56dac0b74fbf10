#!/usr/bin/env bash
# Checks p2ptun against a real Kubo on this machine, over TCP with TLS, TCP with Noise, and QUIC, with Kubo at either end.
# All on loopback.
#
#   kubo.sh          builds both and runs every check; the last line is "N passed, N failed"
#   kubo.sh build    builds Kubo only and prints where it is
#
# P2PTUN names a p2ptun to use instead of building one, KUBO an ipfs likewise. Needs Go 1.21 or newer, Python 3.11 and
# about two minutes for the first build of Kubo.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lab/build.sh
source "$here/build.sh"

case ${1:-} in
  build) kubo ;;
  "")
    kubo=${KUBO:-$(kubo)}
    p2ptun=${P2PTUN:-$(p2ptun)}
    exec python3 "$here/kubo.py" "$kubo" "$p2ptun"
    ;;
  *)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 64
    ;;
esac
