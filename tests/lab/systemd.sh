#!/usr/bin/env bash
# Checks p2ptun under a real systemd on this machine: the unit, its sandbox, reloads, the watchdog, stopping.
#
#   systemd.sh    runs every check; the last line is "N passed, N failed"
#
# systemd runs as the first process of namespaces of its own, over a copy-on-write view of this machine that is gone at the
# end: no user, unit or file of the machine itself changes. P2PTUN names a p2ptun to use instead of building one. Needs root,
# systemd 252 or newer, iproute2 and Python 3.11.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -eq 0 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64; }
[ "$(id -u)" -eq 0 ] || { echo "systemd.sh: needs root, for the namespaces that it works in" >&2; exit 77; }

# shellcheck source=tests/lab/build.sh
source "$here/build.sh"
p2ptun=${P2PTUN:-$(p2ptun)}

# cgroup2, alone or beside cgroup1.
for cgroups in /sys/fs/cgroup/unified /sys/fs/cgroup; do
  [ -e "$cgroups/cgroup.controllers" ] && break
done
[ -e "$cgroups/cgroup.controllers" ] || { echo "systemd.sh: this machine has no cgroup2" >&2; exit 69; }

state=$(mktemp -d)
cgroup=$cgroups/p2ptun-lab-$$
outer=''
first=''

clean_up() {
  # The end of its first process is the end of all others in there, and of what they had mounted.
  [ -z "$first" ] || kill -KILL "$first" 2>/dev/null || true
  [ -z "$outer" ] || kill -KILL "$outer" 2>/dev/null || true
  [ -z "$outer" ] || wait "$outer" 2>/dev/null || true
  local deadline=$((SECONDS + 10))
  until [ ! -e "$cgroup" ] || { find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && [ ! -e "$cgroup" ]; }; do
    [ "$SECONDS" -lt "$deadline" ] || { echo "systemd.sh: $cgroup is still in use" >&2; break; }
    sleep 0.1
  done
  rm -rf "$state"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# What a user of a fresh clone has after `cargo build --release`, and the checks.
mkdir -p "$state/root" "$state/tree/target/release" "$cgroup"
cp "$p2ptun" "$state/tree/target/release/p2ptun"
cp -r "$root/packaging" "$root/README.md" "$here/systemd.py" "$state/tree"

cat >"$state/init.sh" <<'INIT'
set -eu
state=$1
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$state/root"
cd "$state/root"
mkdir up work root
mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid tmpfs dev
mkdir dev/pts dev/shm
for device in null zero full random urandom tty; do : >dev/$device; mount --bind /dev/$device dev/$device; done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for name in stdin:0 stdout:1 stderr:2; do ln -s "/proc/self/fd/${name#*:}" "dev/${name%:*}"; done
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p run/tree run/systemd/system
cp -r "$state/tree/." run/tree
: >etc/fstab
# Nothing that this machine may have of p2ptun.
rm -rf etc/p2ptun.toml etc/p2ptun.d var/lib/p2ptun etc/systemd/system/p2ptun.service* usr/lib/systemd/system/p2ptun.service*
cat >run/systemd/system/lab.target <<'TARGET'
[Unit]
Description=p2ptun's lab
Wants=systemd-journald.service systemd-journald.socket
AllowIsolate=yes
TARGET
mkdir oldroot
pivot_root . oldroot
cd /
umount -l /oldroot
mount --make-rshared /
exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=lab.target --log-target=journal --log-level=info --show-status=no
INIT

(
  echo 0 >"$cgroup/cgroup.procs"
  exec unshare --mount --pid --cgroup --ipc --uts --net --fork --kill-child bash "$state/init.sh" "$state"
) </dev/null >"$state/console" 2>&1 &
outer=$!

inside() { nsenter --target "$first" --all "$@"; }

deadline=$((SECONDS + 30))
until [ -n "$first" ] && inside test -S /run/systemd/private 2>/dev/null; do
  if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 "$outer" 2>/dev/null; then
    echo "systemd.sh: systemd does not start here:" >&2
    cat "$state/console" >&2
    exit 69
  fi
  first=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null | tr -d ' ') || true
  sleep 0.05
done
inside ip link set lo up
inside systemctl is-system-running --wait >/dev/null || true
# Debian's own Python: what a user has put in place of it may lie in a home folder. Not in the foreground, where it would put
# off the traps.
inside env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 \
  /usr/bin/python3 /run/tree/systemd.py </dev/null &
wait $!
