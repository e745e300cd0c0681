"""What removal does on a host, in a folder that stands for its root."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import places
from fleet.delivery.onhost import boot, remove
from fleet.delivery.onhost.remove import RemoveError, Request

FLEET = "f" * 32
RC_LOCAL = "#!/bin/sh\nfoo\nexit 0\n"


@pytest.fixture(autouse=True)
def _no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remove, "_is_systemd", lambda: False)


def request(root: Path, bundle: dict[str, Any] | None = None, program: str = "/none/current/x") -> Request:
    return Request(
        put={name: list(values) for name, values in places.PUT.items()},
        remembered=list(places.REMEMBERED),
        program=program,
        run=places.RUN,
        state=places.STATE,
        unit_folder=places.UNIT_FOLDER,
        rc_local=places.RC_LOCAL,
        before=places.BEFORE,
        fleet=FLEET,
        interfaces=["lo", "none0"],
        bundle=bundle,
        root=str(root),
    )


def below(root: Path, name: str) -> Path:
    path = Path(f"{root}{name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def contents(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text() if path.is_file() else "" for path in root.rglob("*")
    }


def host(root: Path) -> dict[str, str]:
    """A host that others have put files on; what there is."""
    for name, text in {
        "/etc/systemd/system/other.service": "unit",
        "/etc/systemd/system/multi-user.target.wants/other.service": "unit",
        "/etc/systemd/system/fleet-agent.service.d/mine.conf": "the operator's own",
        "/etc/cron.d/other": "line",
        "/etc/local.d/other.start": "line",
        "/etc/rc.local": RC_LOCAL,
        "/opt/other/file": "file",
        "/run/wireguard/other0.sock": "",
        "/var/lib/other/file": "file",
    }.items():
        below(root, name).write_text(text)
    return contents(root)


def put_everything(root: Path) -> None:
    """Every place of the list, as if all kinds of boot had been used."""
    for unit in places.PUT["units"]:
        below(root, f"{places.UNIT_FOLDER}/{unit}").write_text("x")
        below(root, f"{places.UNIT_FOLDER}/multi-user.target.wants/{unit}").symlink_to("/nowhere")
    for file in places.PUT["files"]:
        below(root, file).write_text("x")
    for folder in places.PUT["folders"]:
        below(root, f"{folder}/some/file").write_text("x")
    (root / "opt/fleet-agent/current").symlink_to("releases/x")
    boot.edit_rc_local(below(root, places.RC_LOCAL), below(root, places.BEFORE))


def test_everything_of_the_list_goes_and_nothing_else(tmp_path: Path) -> None:
    before = host(tmp_path)
    put_everything(tmp_path)
    seen = remove.look(request(tmp_path))
    assert (
        len(seen["places"])
        == 2 * len(places.PUT["units"]) + len(places.PUT["files"]) + len(places.PUT["folders"]) + 1
    )
    assert remove.answer("remove", request(tmp_path)) == {"ok": True, "kept": False}
    assert contents(tmp_path) == before
    assert remove.look(request(tmp_path))["places"] == []
    assert remove.answer("remove", request(tmp_path)) == {"ok": True, "kept": False}


def test_ended_anywhere_the_same_again_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is the last thing that could be removed or written."""
    left = [0]
    real = {name: getattr(os, name) for name in ("unlink", "rmdir", "fsync")}

    def counted(name: str) -> Any:
        def call(*args: Any, **values: Any) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            real[name](*args, **values)

        return call

    for steps in range(100):
        root = tmp_path / str(steps)
        before = host(root)
        put_everything(root)
        left[0] = steps
        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(os, name, counted(name))
            try:
                remove.remove(request(root))
            except KeyboardInterrupt:
                ended = False
            else:
                ended = True
        if not ended:
            assert remove.look(request(root))["places"], "nobody would come back"
        remove.remove(request(root))
        assert contents(root) == before, steps
        if ended:
            assert steps > 5
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("text", [RC_LOCAL, "", "#!/bin/sh", "#!/bin/sh\n", "foo\n\n\nexit 0\n\n"])
@pytest.mark.parametrize("mode", [0o644, 0o755, 0o700])
def test_rc_local_is_what_it_was(tmp_path: Path, text: str, mode: int) -> None:
    file = below(tmp_path, places.RC_LOCAL)
    file.write_text(text)
    file.chmod(mode)
    for _ in range(2):
        boot.edit_rc_local(file, below(tmp_path, places.BEFORE))
    assert places.SUPERVISE in file.read_text()
    remove.remove(request(tmp_path))
    assert (file.read_text(), file.stat().st_mode & 0o7777) == (text, mode)


def test_what_others_wrote_there_since_stays(tmp_path: Path) -> None:
    file = below(tmp_path, places.RC_LOCAL)
    file.write_text(RC_LOCAL)
    boot.edit_rc_local(file, below(tmp_path, places.BEFORE))
    file.write_text(file.read_text().replace("foo", "bar"))
    remove.remove(request(tmp_path))
    assert file.read_text() == RC_LOCAL.replace("foo", "bar")


def test_another_fleet_keeps_the_agent(tmp_path: Path) -> None:
    put_everything(tmp_path) if below(tmp_path, places.RC_LOCAL).write_text(RC_LOCAL) else None
    below(tmp_path, f"{places.STATE}/fleets/{'b' * 32}/state.json").write_text("x")
    before = contents(tmp_path)
    assert remove.answer("remove", request(tmp_path)) == {"ok": True, "kept": True}
    assert contents(tmp_path) == before
    assert remove.look(request(tmp_path))["fleets"] == ["b" * 32]


def agent(root: Path, answer: dict[str, Any], *, leaves: bool = True) -> str:
    """A program that answers so, and forgets the fleet."""
    state = below(root, f"{places.STATE}/fleets/{FLEET}/state.json")
    state.write_text("x")
    program = root / "agent"
    last = f"rm -r {state.parent}" if leaves else "true"
    program.write_text(f"#!/bin/sh\ncat >{root}/got\n{last}\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    return str(program)


DONE = {"ok": True, "report": {"pending": [], "problems": []}}


def test_first_the_agent_leaves(tmp_path: Path) -> None:
    program = agent(tmp_path, DONE)
    assert remove.answer("remove", request(tmp_path, {"revision": 3}, program)) == {"ok": True, "kept": False}
    assert json.loads((tmp_path / "got").read_text()) == {"bundle": {"revision": 3}, "secrets": []}
    assert not (tmp_path / "var/lib/fleet-agent").exists()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"ok": False, "error": "another revision"}, "another revision"),
        (
            {
                "ok": True,
                "report": {"pending": [{"layer": "interface", "item": "wg0"}], "problems": ["busy"]},
            },
            "not everything could be undone (interface wg0): busy",
        ),
        (DONE, "its agent still keeps the fleet"),
    ],
)
def test_where_it_does_not_leave_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], error: str
) -> None:
    monkeypatch.setattr(remove, "END_SECONDS", 0.1)
    program = agent(tmp_path, answer, leaves=False)
    found = remove.answer("remove", request(tmp_path, {}, program))
    assert not found["ok"]
    assert error in found["error"]
    assert remove.look(request(tmp_path))["fleets"] == [FLEET]


def test_an_agent_that_says_nothing(tmp_path: Path) -> None:
    below(tmp_path, f"{places.STATE}/fleets/{FLEET}/state.json").write_text("x")
    program = tmp_path / "agent"
    program.write_text("#!/bin/sh\necho broken >&2\n")
    program.chmod(0o755)
    with pytest.raises(RemoveError, match="does not answer: broken"):
        remove.remove(request(tmp_path, {}, str(program)))
    found = remove.answer("remove", request(tmp_path, {}, "/none"))
    assert "No such file" in found["error"]


def test_tunnels_that_no_fleet_made_keep_their_files(tmp_path: Path) -> None:
    below(tmp_path, f"{places.INSTALLED}/file").write_text("x")
    release = tmp_path / "releases/aa"
    release.mkdir(parents=True)
    (release / "__main__.py").write_text("import time; print(flush=True); time.sleep(60)")
    command = [sys.executable, "-I", str(release), "tunnel", "wg9"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            found = remove.answer("remove", request(tmp_path, None, f"{tmp_path}/current/bin/x"))
        finally:
            process.kill()
    assert f"wg9 (process {process.pid})" in found["error"]
    assert Path(f"{tmp_path}{places.INSTALLED}/file").exists()


def test_the_agent_is_ended(tmp_path: Path) -> None:
    release = tmp_path / "releases/aa"
    release.mkdir(parents=True)
    (release / "__main__.py").write_text("import time; print(flush=True); time.sleep(60)")
    command = [sys.executable, "-I", str(release), "service"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            wanted = request(tmp_path, None, f"{tmp_path}/current/bin/x")
            running = [pid for pid, _ in remove._processes(wanted)]
        finally:
            process.kill()
    assert running == [process.pid]


def test_it_needs_the_standard_library_of_an_old_python_alone() -> None:
    tree = ast.parse(Path(remove.__file__).read_text(), feature_version=(3, 9))
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_it_goes_on_when_whoever_asked_is_gone(tmp_path: Path) -> None:
    """As at the end of a connection: its input and output are closed, and it is killed."""
    program = agent(tmp_path, DONE)
    script = Path(program)
    script.write_text(
        script.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\ntouch {tmp_path}/begun\nsleep 0.5\n")
    )
    wanted = request(tmp_path, {}, program)
    words = [sys.executable, "-I", "-c", Path(remove.__file__).read_text(), "remove"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(wanted.__dict__).encode())
    process.stdin.close()
    assert remove._wait((tmp_path / "begun").exists, 20)
    os.killpg(process.pid, 9)
    process.stdout.close()
    process.wait()
    assert remove._wait(lambda: not (tmp_path / "var/lib/fleet-agent").exists(), 20)
    shutil.rmtree(tmp_path, ignore_errors=True)
