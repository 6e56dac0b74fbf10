#!/usr/bin/env bash
# Checks p2ptun against a real Kubo on this machine, over TCP and QUIC, with Kubo at either end. All on loopback.
#
#   kubo.sh          builds both and runs every check; the last line is "N passed, N failed"
#   kubo.sh build    builds Kubo only and prints where it is
#
# P2PTUN names a p2ptun to use instead of building one, KUBO an ipfs likewise. Needs Go 1.21 or newer, Python 3.11 and
# about two minutes for the first build of Kubo, which stays in ${XDG_CACHE_HOME:-~/.cache}/kubo.
set -euo pipefail

# 0.43 replaces go-libp2p by a fork that the Go module proxy lacks.
version=v0.42.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Prints the path of Kubo's binary, after building it once.
kubo() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/kubo/$version
  if [ ! -x "$cache/ipfs" ]; then
    command -v go >/dev/null || { echo "kubo.sh: Go is needed to build Kubo" >&2; return 69; }
    # Out of its own module's folder, for `go install …@version` ignores the replacements that Kubo needs.
    local source
    source=$(cd / && GOFLAGS=-mod=mod go mod download -json "github.com/ipfs/kubo@$version" |
      python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
    mkdir -p "$cache"
    (cd "$source" && go build -trimpath -ldflags='-s -w' -o "$cache/ipfs.new" ./cmd/ipfs) >&2
    mv "$cache/ipfs.new" "$cache/ipfs"
  fi
  echo "$cache/ipfs"
}

p2ptun() {
  cargo build --release --manifest-path "$here/../../Cargo.toml" --message-format=json-render-diagnostics |
    python3 -c 'import json, sys
for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable") and built["target"]["name"] == "p2ptun": print(built["executable"])'
}

case ${1:-} in
  build) kubo ;;
  "")
    kubo=${KUBO:-$(kubo)}
    p2ptun=${P2PTUN:-$(p2ptun)}
    exec python3 "$here/kubo.py" "$kubo" "$p2ptun"
    ;;
  *)
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 64
    ;;
esac
