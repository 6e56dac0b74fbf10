#!/usr/bin/env bash
# Has p2ptun, ssh (with autossh), rathole, frp and Kubo do the same things on loopback, and checks that what a client sees
# is what the README's table says. The last line is "N passed, N failed".
#
# P2PTUN names a p2ptun to use instead of building one. Needs autossh, openssh-server, Go 1.21 or newer, Python 3.11, and
# about five minutes for the first build of the others. To be run as root, as sshd wants it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lab/build.sh
source "$here/build.sh"

p2ptun=${P2PTUN:-$(p2ptun)}
kubo=$(kubo)
frp=$(frp)
rathole=$(rathole)
exec python3 "$here/compare.py" "$root/README.md" "$p2ptun" "$(command -v autossh)" "$rathole" "$frp/frps" "$frp/frpc" "$kubo"
