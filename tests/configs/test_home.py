from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ml_intern.configs.home import ml_intern_home, open_private, prepare_home, touch_private
from ml_intern.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[int]:
    before = os.umask(0)
    yield before
    os.umask(before)


def test_the_variable_names_the_home_and_a_tilde_is_expanded() -> None:
    assert ml_intern_home({"ML_INTERN_HOME": "/data/x", "HOME": "/h"}) == Path("/data/x")
    assert ml_intern_home({"ML_INTERN_HOME": "~/x", "HOME": "/h"}) == Path("/h/x")
    assert ml_intern_home({"ML_INTERN_HOME": "x", "HOME": "/h"}) == Path.cwd() / "x"


@pytest.mark.skipif(sys.platform != "linux", reason="the places differ by platform")
@pytest.mark.parametrize("env", [{}, {"XDG_DATA_HOME": "/data"}, {"XDG_DATA_HOME": "relative"}])
def test_without_it_the_home_is_where_platformdirs_says(env: dict[str, str]) -> None:
    code = "import platformdirs; print(platformdirs.user_data_dir('ml-intern', appauthor=False))"
    environment = {"HOME": "/h", **env}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout
    if env.get("XDG_DATA_HOME") != "relative":
        assert str(ml_intern_home(environment)) == said.strip()
    else:
        assert ml_intern_home(environment) == Path("/h/.local/share/ml-intern")


def test_the_home_is_made_private_with_its_parents(tmp_path: Path, open_umask: int) -> None:
    home = prepare_home(tmp_path / "a" / "b" / "home")
    assert mode(home) == 0o700
    assert list(home.iterdir()) == []


def test_a_home_others_could_read_is_closed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o755)
    prepare_home(home)
    assert mode(home) == 0o700


def test_a_strict_umask_does_not_lock_the_owner_out(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        home = prepare_home(tmp_path / "home")
        with open_private(home / "file") as stream:
            stream.write("x")
    finally:
        os.umask(before)
    assert (mode(home), mode(home / "file")) == (0o700, 0o600)


@pytest.mark.parametrize("kind", ["file", "dangling link", "below a file", "not writable"])
def test_a_home_that_cannot_be_used_is_one_line_with_the_remedy(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "home"
    if kind == "file":
        home.write_text("")
    elif kind == "dangling link":
        home.symlink_to(tmp_path / "nowhere")
    elif kind == "below a file":
        home.write_text("")
        home = home / "below"
    else:
        home = Path("/proc/ml-intern")
    with pytest.raises(UserError, match="ML_INTERN_HOME") as error:
        prepare_home(home)
    assert "\n" not in str(error.value)
    assert str(home) in str(error.value)


def test_a_home_that_takes_no_more_bytes_is_noticed_when_it_is_prepared(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys, pathlib\n"
        "from ml_intern.configs.home import prepare_home\n"
        "from ml_intern.errors import UserError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try: prepare_home(pathlib.Path(sys.argv[1]))\n"
        "except UserError as error: sys.stdout.write(str(error))\n"
    )
    said = subprocess.run(
        [sys.executable, "-B", "-c", code, str(tmp_path / "home")], capture_output=True, text=True, check=True
    ).stdout
    assert "File too large" in said


def test_private_files_stay_private_whatever_the_umask(tmp_path: Path, open_umask: int) -> None:
    database = touch_private(tmp_path / "x.db")
    assert mode(database) == 0o600
    database.write_bytes(b"kept")
    database.chmod(0o644)
    assert mode(touch_private(database)) == 0o600
    assert database.read_bytes() == b"kept"
    with open_private(database, "rb") as stream:
        assert stream.read() == b"kept"
