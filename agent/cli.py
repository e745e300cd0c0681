"""`fleet-agent`: the words of the command line, each to its module, imported when it is needed.

Called by the program that delivery installs, and by people on a host.
"""

from __future__ import annotations

import os
import sys

USAGE = """\
usage: fleet-agent COMMAND

  report [--probe] [--fleet NAME]
                           print what this host is, as JSON; --probe calls idle peers first; --fleet, which
                           may be repeated, says of which fleet where the host is in several: its name or id
  apply [--replace-fleet]  take {"bundle": ..., "secrets": [...]} from stdin, make it so, print a report;
                           --replace-fleet: also in the place of another fleet of the same name
  secrets [--fleet NAME]   print the keys that the agent holds
  service                  be the resident agent, in the foreground
  supervise [--restart]    keep the agent running where no systemd does it; --restart starts it anew
  supervise --stop         end the agent and what keeps it running; devices and tunnels go on
  tunnel IFACE [--mtu N] [--log-stdout]
                           be the userspace WireGuard device IFACE, in the foreground; --log-stdout: once
                           it runs, messages go to stdout
  version                  print the version and the digest of this release

As wg does, for the devices of this host, whatever made them:
  show [IFACE|all|interfaces] [FIELD]      print devices, or one field of them for scripts
  showconf IFACE                           print a device as a configuration file
  setconf|addconf|syncconf IFACE FILE      make a device what a configuration file says
  genkey, genpsk, pubkey                   print a new key, or the public key of the private one on stdin

As wg-quick does, without any fleet; a name IFACE is the file /etc/wireguard/IFACE.conf:
  up, down FILE.conf|IFACE                 bring the interface up that a configuration file describes, or down
  save FILE.conf|IFACE                     write the device as it is into its file
  strip FILE.conf|IFACE                    print the part of a file that setconf takes

All of it is for root.
"""

_WG = frozenset({"show", "showconf", "setconf", "addconf", "syncconf", "genkey", "genpsk", "pubkey"})
_QUICK = frozenset({"up", "down", "save", "strip"})


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns the exit code: 0 done, 1 anything else."""
    words = sys.argv[1:] if argv is None else argv
    command, options = (words[0], words[1:]) if words else ("", [])
    if command in ("help", "-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    if command == "tunnel":
        return _tunnel(options)
    if command in _WG:
        return _wg(command, options)
    if command in _QUICK:
        return _quick(command, options)
    if command in ("report", "secrets"):
        return _question(command, options)
    allowed = {
        "apply": ({"--replace-fleet"}, _apply),
        "service": (set(), _service),
        "supervise": ({"--restart", "--stop", "--foreground"}, _supervise),
        "version": (set(), _version),
    }
    known, action = allowed.get(command, (set[str](), None))
    strange = [word for word in options if word not in known]
    if action is None or strange or len(options) > 1:
        wrong = f"unknown command {command!r}" if action is None else f"{command}: unknown words {options}"
        sys.stderr.write(f"fleet-agent: {wrong if command else 'no command'}\n{USAGE}")
        return 1
    try:
        return action(options)
    except KeyboardInterrupt:
        return 130


def _question(command: str, options: list[str]) -> int:
    fleets, rest = [], list(options)
    while "--fleet" in rest[:-1]:
        at = rest.index("--fleet")
        fleets.append(rest[at + 1])
        del rest[at : at + 2]
    if rest not in ([], ["--probe"]) or (rest and command != "report"):
        sys.stderr.write(f"fleet-agent: {command}: unknown words {rest}\n{USAGE}")
        return 1
    from agent import client

    try:
        return client.report(bool(rest), fleets) if command == "report" else client.secrets(fleets)
    except KeyboardInterrupt:
        return 130


def _apply(options: list[str]) -> int:
    from agent import client

    return client.apply("--replace-fleet" in options)


def _service(_options: list[str]) -> int:
    from agent.resident import service

    return service.run()


def _supervise(options: list[str]) -> int:
    from agent.resident import supervise

    if "--foreground" in options:
        return supervise.foreground()
    if "--stop" in options:
        return supervise.stop()
    return supervise.start(restart="--restart" in options)


def _tunnel(options: list[str]) -> int:
    names, rest = options[:1], options[1:]
    given: dict[str, int] = {}
    if rest[:1] == ["--mtu"] and len(rest) > 1 and rest[1].isdecimal() and len(rest[1]) < 6:
        given["mtu"] = int(rest[1])
        rest = rest[2:]
    if not names or names[0].startswith("-") or rest not in ([], ["--log-stdout"]):
        sys.stderr.write(f"fleet-agent: tunnel: expected IFACE [--mtu N] [--log-stdout]\n{USAGE}")
        return 1
    from agent.resident.notify import Notifier
    from agent.tunnel.main import run

    notifier = Notifier(os.environ)
    started = _log_to_stdout if rest else notifier.ready
    return run(names[0], started=started, failed=notifier.failed, **given)


def _log_to_stdout() -> None:
    os.dup2(1, 2)


def _wg(command: str, options: list[str]) -> int:
    from agent.wg.main import run

    try:
        return run(command, options)
    except KeyboardInterrupt:
        return 130


def _quick(command: str, options: list[str]) -> int:
    from agent.quick.run import run

    try:
        return run(command, options)
    except KeyboardInterrupt:
        return 130


def _version(_options: list[str]) -> int:
    from agent.bundle import VERSION
    from agent.places import release

    sys.stdout.write(f"fleet-agent, release {release()}, bundle version {VERSION}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
