"""Debian's kernels, as an emulated machine boots them.

Job: have a kernel package once on this machine (downloaded a single time, kept in the user's cache): the
kernel unpacked, the modules that tests can want, and a first file system that mounts this machine's root.
Refuses to know what is run. Called by `machine`.
"""

from __future__ import annotations

import fcntl
import lzma
import os
import shutil
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {"6.1": "linux-image-amd64", "6.12": "linux-image-6.12-amd64"}
"""Debian 12's own kernel and its newer one; each package depends on the one that has the files."""
DEFAULT = "6.1"

_FIRST = ("virtio_pci", "virtio_console", "virtio_rng", "9p", "9pnet_virtio", "overlay")
"""What the machine needs to reach the rest; everything else is loaded when somebody asks for it."""
_KEPT = (
    *("arch/x86/crypto/**", "crypto/**", "lib/**", "net/**"),
    *("drivers/char/**", "drivers/net/*", "drivers/net/wireguard/*", "drivers/virtio/*"),
    *("fs/9p/*", "fs/fscache/*", "fs/netfs/*", "fs/overlayfs/*", "fs/autofs/*", "fs/fuse/*"),
)
_INIT = Path(__file__).with_name("init")
_LAYOUT = 2
"""Rises when a folder in the cache has to be made anew."""


@dataclass(frozen=True)
class Kernel:
    """A kernel in the cache; `modules` is what belongs at /lib/modules/`release`."""

    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "vmlinux"

    @property
    def modules(self) -> Path:
        (found,) = (self.folder / "modules/lib/modules").iterdir()
        return found

    @property
    def release(self) -> str:
        return self.modules.name


def kernel(version: str = DEFAULT) -> Kernel:
    """The newest package of that version; where it is not in the cache yet, that takes half a minute.

    Raises AssertionError with the output of what went wrong.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleet-tests"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"kernel-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = cache / f"kernel-{version}-{_LAYOUT}"
        if not found.is_dir():
            made = cache / f"kernel-{version}.tmp"
            shutil.rmtree(made, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=cache) as unpacked:
                _download(PACKAGES[version], Path(unpacked))
                _take(Path(unpacked), made)
            made.rename(found)
        return Kernel(found)


def first_files(of: Kernel, to: Path) -> None:
    """Writes the initial file system: busybox, our init, and the modules of _FIRST in their order."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name in ("bin", "modules", "proc", "sys", "dev", "lower", "upper", "root"):
            (folder / name).mkdir()
        shutil.copy("/bin/busybox", folder / "bin/busybox")
        shutil.copy(_INIT, folder / "init")
        (folder / "init").chmod(0o755)
        for number, file in enumerate(_in_order(of.modules, _FIRST)):
            (folder / "modules" / f"{number:02}.ko").write_bytes(_module(file))
        names = "\0".join(str(file.relative_to(folder)) for file in [folder, *sorted(folder.rglob("*"))])
        with to.open("wb") as output:
            subprocess.run(
                ["cpio", "--create", "--format=newc", "--null", "--quiet"],
                input=names.encode(),
                stdout=output,
                cwd=folder,
                check=True,
            )


def unpacked(image: bytes) -> bytes:
    """The ELF file in a bzImage (Documentation/arch/x86/boot.rst): unpacking it emulated takes seconds."""
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    begin = (setup_sectors + 1) * 512 + offset
    packed = image[begin : begin + length - 4]  # its last four bytes are the size
    if packed.startswith(b"\xfd7zXZ\0"):
        return lzma.decompress(packed)
    return subprocess.run(
        ["zstd", "--decompress", "--stdout", "--quiet"], input=packed, capture_output=True, check=True
    ).stdout


def _download(package: str, folder: Path) -> None:
    """Unpacks the package that `package` depends on into `folder`."""
    if not _download_now(package, folder):
        _run(folder, "apt-get", "update")
        assert _download_now(package, folder), f"apt-get download of {package} failed; see above"
    (file,) = folder.glob("*.deb")
    _run(folder, "dpkg-deb", "--extract", file.name, ".")
    file.unlink()


def _download_now(package: str, folder: Path) -> bool:
    said = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True).stdout
    needed = [line.split()[1] for line in said.splitlines() if "Depends: linux-image-" in line]
    return bool(needed) and not subprocess.run(["apt-get", "download", needed[0]], cwd=folder).returncode


def _take(package: Path, to: Path) -> None:
    """What is needed of an unpacked package, with an index that modprobe understands."""
    (image,) = (package / "boot").glob("vmlinuz-*")
    (modules,) = package.glob("lib/modules/*") or package.glob("usr/lib/modules/*")
    kept = to / "modules/lib/modules" / modules.name
    kept.mkdir(parents=True)
    (to / "vmlinux").write_bytes(unpacked(image.read_bytes()))
    for file in modules.glob("modules.*"):
        shutil.copy(file, kept)
    for part in _KEPT:
        for file in (modules / "kernel").glob(f"{part}/*.ko*" if part.endswith("**") else f"{part}.ko*"):
            target = kept / file.relative_to(modules)
            target = target.with_name(target.name.partition(".ko")[0] + ".ko")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_module(file))
    _run(to, "depmod", "--basedir", str(to / "modules"), modules.name)


def _module(file: Path) -> bytes:
    """A module without its packing and its signature: to check one of those takes a tenth of a second."""
    data = file.read_bytes()
    if file.suffix == ".xz":
        data = lzma.decompress(data)
    magic = b"~Module signature appended~\n"  # scripts/sign-file.c
    if data.endswith(magic):
        (length,) = struct.unpack(">I", data[-len(magic) - 4 : -len(magic)])
        data = data[: -len(magic) - 12 - length]
    return data


def _in_order(modules: Path, wanted: tuple[str, ...]) -> list[Path]:
    """The files of modules and of what they need, which comes first; without what the kernel has built in."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
    named = {Path(file).stem.replace("-", "_"): file for file in needs}
    built_in = {
        Path(file).stem.replace("-", "_") for file in (modules / "modules.builtin").read_text().split()
    }
    order: dict[str, None] = {}

    def add(file: str) -> None:
        for need in reversed(needs[file]):  # modules.dep has the deepest last
            order.setdefault(need)
        order.setdefault(file)

    for name in wanted:
        if name not in built_in:
            add(named[name])
    return [modules / file for file in order]


def _run(folder: Path, *argv: str) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True)
    assert not done.returncode, f"{' '.join(argv)}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
