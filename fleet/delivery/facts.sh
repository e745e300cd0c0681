# What `fleet` must know of a host before it writes anything, in one go. Plain POSIX sh: dash and
# busybox run it, Python need not be there. Prints one "KEY VALUE" a line; changes nothing but that it
# may load the wireguard module. Its arguments are those of the agent's report. Read by fleet.delivery.facts.
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C
current=/opt/fleet-agent/current
agent=$current/bin/fleet-agent

has_wireguard() {
    [ -d /sys/module/wireguard ] && return 0
    modprobe wireguard >/dev/null 2>&1 && [ -d /sys/module/wireguard ] && return 0
    ip link add "flp$$" type wireguard >/dev/null 2>&1 || return 1
    ip link del "flp$$" >/dev/null 2>&1
}

free_kib() {
    place=$1
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    df -Pk "$place" 2>/dev/null | { read -r _; read -r _ _ _ free _; echo "$free"; }
}

boot_by() {
    init=$(cat /proc/1/comm 2>/dev/null)
    if [ "$init" = systemd ] && [ -d /run/systemd/system ]; then echo systemd; return; fi
    case $init in init|openrc-init|busybox) ;; *) echo none; return ;; esac
    if [ -d /etc/local.d ] && command -v rc-service >/dev/null 2>&1; then echo openrc; return; fi
    if [ -f /etc/rc.local ]; then echo rc.local; return; fi
    if [ -d /etc/cron.d ] && command -v cron crond >/dev/null 2>&1; then echo cron; return; fi
    echo none
}

echo "fleet-facts 1"
echo "machine $(uname -m)"
for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9; do
    file=$(command -v "$name" 2>/dev/null) || continue
    "$file" -I -c '
import os, sys
if sys.version_info < (3, 9):
    print("old-python", "%d.%d.%d" % sys.version_info[:3])
    sys.exit(1)
from importlib.util import find_spec
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or "musl 1.2"
except (ValueError, OSError):
    libc = "musl 1.2"
print("python", sys.executable)
print("python-version", "%d.%d.%d" % sys.version_info[:3])
print("python-kind", sys.implementation.name + getattr(sys, "abiflags", ""), "64" if sys.maxsize > 2**32 else "32")
print("libc", libc)
print("modules", *[m for m in ("cryptography", "nacl", "pyroute2") if find_spec(m)])
print("lacks", *[m for m in ("asyncio", "ctypes", "ipaddress", "json", "socket", "tarfile", "zlib") if not find_spec(m)])
' </dev/null 2>/dev/null && break
done
echo "boot $(boot_by)"
if has_wireguard; then echo "wireguard yes"; else echo "wireguard no"; fi
echo "free-opt $(free_kib /opt/fleet-agent)"
echo "free-var $(free_kib /var/lib/fleet-agent)"
echo "clock $(date +%s)"
echo "fleets" /var/lib/fleet-agent/fleets/*/state.json
if [ -x "$agent" ]; then
    release=$(readlink $current)
    echo "release ${release##*/}"
    if [ -r "$current/MANIFEST" ]; then printf 'manifest %s\n' "$(tr '\n' ' ' <"$current/MANIFEST")"; fi
    printf 'report %s\n' "$("$agent" report "$@" </dev/null | tr '\n' ' ')"
fi
echo "end"
