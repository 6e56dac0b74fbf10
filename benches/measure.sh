# Finds, installs and builds what the benchmarks compare, and starts the harness. To be sourced.

# shellcheck source=tests/lab/build.sh
source "$(dirname "${BASH_SOURCE[0]}")/../tests/lab/build.sh"

# measure HARNESS "COMMAND=PACKAGE…" OPTION…
measure() {
  local harness=$1 pair asked path tool missing=() arguments
  local -a tools
  read -r -d '' -a tools <<<"$2" || true
  shift 2
  for pair in "${tools[@]}"; do
    PATH=$PATH:/usr/sbin command -v "${pair%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -q && apt-get install -yq --no-install-recommends "${missing[@]}"; } >&2 ||
      echo "could not install ${missing[*]}" >&2
  fi

  arguments=("$@")
  case " $* " in
    *" --help "* | *" -h "* | *" --p2ptun"*) ;;
    *) arguments=(--p2ptun "p2ptun=$(p2ptun)" "$@") ;;
  esac
  case " $* " in *" --peers"*) asked=" $* " ;; *) asked="kubo rathole" ;; esac
  # What can't be built is told by the harness, by its name.
  for tool in kubo rathole; do
    case $asked in
      *"$tool"*) if path=$("$tool"); then arguments+=("--$tool" "$path"); else echo "could not build $tool" >&2; fi ;;
    esac
  done

  cargo build --release --quiet --manifest-path "$root/Cargo.toml" --package p2ptun-compare
  exec "${CARGO_TARGET_DIR:-$root/target}/release/$harness" "${arguments[@]}"
}
