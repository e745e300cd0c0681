"""Has wheels: from the cache of this machine, else from the package index through pip, hashes checked.

Job: a path for every wheel, once its SHA-256 is right. Refuses to know what wheels are for. Called by
rollout, on the controller only: no host ever asks an index.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fleet.delivery.wheels import Wheel
from fleet.errors import FleetError

_SECONDS = 300.0


def cache_folder(environ: Mapping[str, str], home: Path) -> Path:
    """Where wheels are kept: fleet/wheels in XDG_CACHE_HOME, ~/.cache by default."""
    base = environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else home / ".cache") / "fleet" / "wheels"


def fetch(
    wheels: Iterable[Wheel],
    python: tuple[int, int, int],
    cache: Path,
    told: Callable[[str], None] = lambda _text: None,
) -> dict[Wheel, Path]:
    """The path of each wheel in `cache`; what is missing is downloaded for a CPython of that version.

    `told` hears of a download, which takes seconds. Raises FleetError where pip cannot have a wheel, or has
    a wrong one.
    """
    wanted = tuple(wheels)
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        missing = [wheel for wheel in wanted if not _is_right(cache / wheel.file, wheel)]
        if missing:
            told(f"downloading {_names(missing)} for the hosts")
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as folder:
                _download(missing, python, Path(folder))
                for wheel in missing:
                    (Path(folder) / wheel.file).replace(cache / wheel.file)
    except OSError as error:
        raise FleetError(
            f"wheels for the hosts cannot be kept in {cache} ({error.strerror}): make room there, or set "
            "XDG_CACHE_HOME"
        ) from None
    return {wheel: cache / wheel.file for wheel in wanted}


def _is_right(file: Path, wheel: Wheel) -> bool:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() == wheel.sha256
    except FileNotFoundError:
        return False


def _download(wheels: list[Wheel], python: tuple[int, int, int], folder: Path) -> None:
    lines = [f"{wheel.distribution}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels]
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(lines))
    tags = [tag for wheel in wheels for tag in wheel.tags]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--retries", "2", "--no-input", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    command += ["--implementation", "cp", "--python-version", f"{python[0]}.{python[1]}.99"]
    for option, values in (("--platform", {t.platform for t in tags}), ("--abi", {t.abi for t in tags})):
        for value in sorted(values):
            command += [option, value]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired:
        raise _refusal(wheels, f"no answer within {_SECONDS:g} s") from None
    wrong = [wheel.file for wheel in wheels if not _is_right(folder / wheel.file, wheel)]
    if done.returncode or wrong:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [
            *done.stderr.strip().splitlines()[-1:],
            f"pip did not bring {', '.join(wrong)}",
        ]
        raise _refusal(wheels, said[0].removeprefix("ERROR: ")[:300])


def _refusal(wheels: list[Wheel], reason: str) -> FleetError:
    return FleetError(
        f"this machine cannot download {_names(wheels)} for the hosts ({reason}): give it a package index "
        "(pip's own settings count, as PIP_INDEX_URL), or run once where there is one and copy "
        "~/.cache/fleet/wheels"
    )


def _names(wheels: list[Wheel]) -> str:
    return ", ".join(f"{wheel.distribution} {wheel.version}" for wheel in wheels)
