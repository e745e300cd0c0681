"""A machine with a kernel of its own, for what this machine's kernel does not have: WireGuard above all.

Job: boot one of Debian's kernels under qemu, emulated, so that it works without any virtualisation; let it
see this machine's files (what it writes is in memory and gone at the end); run one command there; give back
its exit status and output. It begins in about four seconds and computes many times slower than this machine:
never compare times of there with times of here. Refuses to know what is run. Called by `__main__` and by the
test that runs tests there.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from tests.emulated.kernel import DEFAULT, Kernel, first_files, kernel

_KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet loglevel=5 panic=-1 mitigations=off nokaslr random.trust_cpu=on cryptomgr.notests "
    "8250.nr_uarts=1 tsc=reliable no_timer_check lpj=4000000 rcupdate.rcu_expedited=1"
)
_TIMED_OUT = 124  # timeout(1)


@dataclass(frozen=True)
class Outcome:
    """How a command in a machine ended. `status` is None where the machine did not get to its end."""

    status: Optional[int]
    output: str
    console: str
    """What its kernel said."""


def run(
    command: Sequence[str],
    share: Path,
    version: str = DEFAULT,
    environment: Mapping[str, str] | None = None,
    limit: int = 300,
    memory: int = 1024,
    echo: bool = False,
) -> Outcome:
    """Runs a command as root in the current folder, in a new machine.

    `share` is a folder that the command finds at /share, where it can leave files; `limit` is in seconds,
    `memory` in MB; with `echo`, output is also written to this process's as it comes. A machine that ends
    without a word (the emulator does that now and then) is started once more.
    """
    chosen = kernel(version)
    words = [f"export {name}={shlex.quote(text)}" for name, text in (environment or {}).items()]
    modules = shlex.quote(f"/lib/modules/{chosen.release}")
    words += [f"mkdir -p {modules}", f"mount --bind {shlex.quote(str(chosen.modules))} {modules}"]
    words += [f"cd {shlex.quote(str(Path.cwd()))}", shlex.join(command)]
    (share / "command").write_text("\n".join(words) + "\n")
    outcome = _boot(chosen, share, limit, memory, echo)
    if outcome.status is None and not outcome.output:
        outcome = _boot(chosen, share, limit, memory, echo)
    return outcome


def _boot(chosen: Kernel, share: Path, limit: int, memory: int, echo: bool) -> Outcome:
    (share / "status").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as own:
        first, console = Path(own) / "first.cpio", Path(own) / "console"
        first_files(chosen, first)
        process = subprocess.Popen(
            ["timeout", "--kill-after=5", str(limit), *_qemu(chosen.image, first, console, share, memory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            output = _read(process, echo)
            ended = process.wait(limit + 10)
        finally:
            process.terminate()  # which it hands on
            process.wait(10)
        said = console.read_text(errors="replace") if console.exists() else ""
    if ended == _TIMED_OUT:
        output += f"\n[the machine was ended after {limit} seconds]\n"
    status = share / "status"
    return Outcome(int(status.read_text()) if status.exists() else None, output, said)


def _read(process: subprocess.Popen[bytes], echo: bool) -> str:
    assert process.stdout is not None
    parts = []
    while part := process.stdout.read1(65536):  # type: ignore[attr-defined]
        parts.append(part)
        if echo:
            sys.stdout.buffer.write(part)
            sys.stdout.buffer.flush()
    return b"".join(parts).decode(errors="replace")


def _qemu(image: Path, first: Path, console: Path, share: Path, memory: int) -> list[str]:
    words = ["qemu-system-x86_64", "-accel", "tcg,thread=multi,tb-size=256", "-M", "q35", "-smp", "2"]
    words += ["-cpu", "Nehalem,+rdrand"]  # what is newer takes longer to emulate
    words += ["-m", str(memory), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    words += ["-kernel", str(image), "-initrd", str(first), "-append", _KERNEL_ARGUMENTS]
    words += ["-serial", f"file:{console}", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
    words += ["-chardev", "file,id=output,path=/dev/stdout,append=on"]
    words += ["-device", "virtserialport,chardev=output,name=output"]
    for name, path, more in (("host", Path("/"), ",readonly=on"), ("share", share, "")):
        words += ["-fsdev", f"local,id={name},path={path},security_model=none,multidevs=remap{more}"]
        words += ["-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]
    return words
