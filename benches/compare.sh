#!/usr/bin/env bash
# Measures p2ptun and its peers on loopback in one run, by turns, and prints a table.
#
#     benches/compare.sh [--quick] [--rounds N] [--only MEASURE,…] [--peers PEER,…] [--p2ptun [NAME=]PATH]… [--write NAME]
#
# Builds p2ptun (unless it is given, which also compares builds of it with each other), Kubo and rathole, once; as root,
# installs what Debian has of the rest. What is missing all the same is told in the table, and fails the run.
set -euo pipefail

# shellcheck source=benches/measure.sh
source "$(dirname "${BASH_SOURCE[0]}")/measure.sh"
measure p2ptun-compare "stunnel=stunnel4 openssl=openssl haproxy=haproxy nginx=nginx-light wrk=wrk sshd=openssh-server
  ssh=openssh-client" "$@"
