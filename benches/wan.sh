#!/usr/bin/env bash
# Measures p2ptun and its peers over a path of 40 ms there and back, in one run, by turns, and prints a table.
#
#     benches/wan.sh [--quick] [--rounds N] [--only MEASURE,…] [--peers PEER,…] [--p2ptun [NAME=]PATH]… [--congestion NAME]
#                    [--write NAME]
#
# The path lies between network namespaces of the run's own, which takes root, and vanishes with the run. What else is
# needed is built and installed as benches/compare.sh does it.
set -euo pipefail

[ "$(id -u)" = 0 ] || case " $* " in
  *" --help "* | *" -h "*) ;;
  *) echo "benches/wan.sh makes network namespaces, which takes root" >&2; exit 77 ;;
esac

# shellcheck source=benches/measure.sh
source "$(dirname "${BASH_SOURCE[0]}")/measure.sh"
measure p2ptun-wan "ip=iproute2 nsenter=util-linux stunnel=stunnel4 openssl=openssl nginx=nginx-light wrk=wrk sshd=openssh-server
  ssh=openssh-client" "$@"
