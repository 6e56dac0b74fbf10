# Builds what the labs compare or meet. To be sourced; each function prints the path of a binary, or of a folder of
# binaries. What is not ours is built once and stays in ${XDG_CACHE_HOME:-~/.cache}.

cache=${XDG_CACHE_HOME:-$HOME/.cache}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# go_program MODULE@VERSION FOLDER TAGS PACKAGE...: builds packages of a module into a folder.
#
# From within the module's own folder, for `go install …@version` ignores the replacements that modules ask for.
go_program() {
  local module=$1 folder=$2 tags=$3 source
  shift 3
  [ ! -d "$folder" ] || return 0
  command -v go >/dev/null || { echo "Go is needed to build $module" >&2; return 69; }
  source=$(cd / && GOFLAGS=-mod=mod go mod download -json "$module" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])') || return
  rm -rf "$folder.new" && mkdir -p "$folder.new" &&
    (cd "$source" && go build -trimpath -tags "$tags" -ldflags='-s -w' -o "$folder.new/" "$@") >&2 &&
    mv "$folder.new" "$folder"
}

# 0.43 replaces go-libp2p by a fork that the Go module proxy lacks.
kubo() {
  go_program github.com/ipfs/kubo@v0.42.0 "$cache/kubo/v0.42.0" "" ./cmd/ipfs &&
    echo "$cache/kubo/v0.42.0/ipfs"
}

# Without its web pages, which are built by other means.
frp() {
  go_program github.com/fatedier/frp@v0.68.0 "$cache/frp/v0.68.0" noweb ./cmd/frps ./cmd/frpc &&
    echo "$cache/frp/v0.68.0"
}

# Not with the versions that it was released with (--locked): some of those are too old for today's Rust.
rathole() {
  local folder=$cache/rathole/0.5.0
  [ -x "$folder/bin/rathole" ] ||
    cargo install rathole --version 0.5.0 --no-default-features --features server,client,noise,hot-reload \
      --root "$folder" >&2 &&
    echo "$folder/bin/rathole"
}

p2ptun() {
  cargo build --release --manifest-path "$root/Cargo.toml" --message-format=json-render-diagnostics |
    python3 -c 'import json, sys
for line in sys.stdin:
    built = json.loads(line)
    if built.get("executable") and built["target"]["name"] == "p2ptun": print(built["executable"])'
}

# A folder from which Node runs what is in js/; the name of the folder stands for the versions in the lock file.
js() {
  local source=$root/tests/lab/js folder
  [[ $(node --version 2>/dev/null) =~ ^v([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 20 ] && command -v npm >/dev/null ||
    { echo "Node 20 or newer and npm are needed for js-libp2p" >&2; return 69; }
  folder=$cache/js-libp2p/$(sha256sum "$source/package-lock.json" | cut -c1-16)
  if [ ! -d "$folder" ]; then
    rm -rf "$folder.new" && mkdir -p "$folder.new" && cp "$source"/package*.json "$folder.new/" &&
      (cd "$folder.new" && npm ci --ignore-scripts --no-audit --no-fund) >&2 &&
      mv "$folder.new" "$folder" || return
  fi
  cp "$source"/*.mjs "$folder/"
  echo "$folder"
}

# A Python that has py-libp2p; the name of its folder stands for the versions in the list. One of its dependencies
# (fastecdsa) is compiled.
py_libp2p() {
  local list=$root/tests/lab/py_libp2p/requirements.txt folder
  folder=$cache/py-libp2p/$(sha256sum "$list" | cut -c1-16)
  if [ ! -e "$folder/complete" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder" >&2
    "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$list" >&2 ||
      { echo "py-libp2p needs a C compiler, libgmp-dev and python3-dev" >&2; return 69; }
    touch "$folder/complete"
  fi
  echo "$folder/bin/python"
}
