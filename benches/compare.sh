#!/usr/bin/env bash
# Measures p2ptun and its peers on loopback in one run, by turns, and prints a table.
#
#     benches/compare.sh [--quick] [--rounds N] [--only MEASURE,…] [--peers PEER,…] [--p2ptun [NAME=]PATH]… [--write NAME]
#
# Builds p2ptun (unless it is given, which also compares builds of it with each other), Kubo and rathole, once; as root,
# installs what Debian has of the rest. What is missing all the same is told in the table, and fails the run.
set -euo pipefail

# shellcheck source=tests/lab/build.sh
source "$(dirname "${BASH_SOURCE[0]}")/../tests/lab/build.sh"

missing=()
for pair in stunnel=stunnel4 openssl=openssl haproxy=haproxy nginx=nginx-light wrk=wrk sshd=openssh-server ssh=openssh-client; do
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
exec "${CARGO_TARGET_DIR:-$root/target}/release/p2ptun-compare" "${arguments[@]}"
