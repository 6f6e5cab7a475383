"""What is shipped: the wheel's contents, and that it runs with nothing of the checkout beside it."""

from __future__ import annotations

import email
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKED: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
NOT_SHIPPED = {"benchmarks", "docs", "examples", "scripts", "tests"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this checkout, built offline."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module")
def unpacked(wheel: zipfile.ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    wheel.extractall(folder)
    return folder


def test_the_wheel_is_the_package_and_nothing_beside_it(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"ml_intern", f"ml_intern-{PROJECT['project']['version']}.dist-info"}


def test_every_file_of_every_room_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    rooms = [path for path in ROOT.iterdir() if (path / "__init__.py").exists()]
    files = [ROOT / f"{name}.py" for name in ("cli", "errors", "events")]
    for room in rooms:
        if room.name not in NOT_SHIPPED:
            files += [path for path in room.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    expected = {f"ml_intern/{file.relative_to(ROOT).as_posix()}" for file in files}
    shipped = {name for name in wheel.namelist() if name.startswith("ml_intern/")}
    assert shipped == expected


def test_the_metadata_names_command_python_and_license(wheel: zipfile.ZipFile) -> None:
    info = f"ml_intern-{PROJECT['project']['version']}.dist-info"
    metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert b"ml-intern = ml_intern.cli:main" in wheel.read(f"{info}/entry_points.txt")
    assert b"Apache License" in wheel.read(f"{info}/licenses/LICENSE")


def test_the_unpacked_wheel_plays_the_demo_without_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    done = run_unpacked(unpacked, tmp_path, "demo")
    assert done.returncode == 0, done.stderr
    assert "Held-out accuracy" in done.stdout + done.stderr
    assert "rm -r runs/linear" in done.stdout + done.stderr


def test_the_unpacked_wheel_knows_its_version_and_data_files(unpacked: Path, tmp_path: Path) -> None:
    version = run_unpacked(unpacked, tmp_path, "--version").stdout
    assert version == f"ml-intern {PROJECT['project']['version']}\n"
    assert run_unpacked(unpacked, tmp_path, "config", "show").returncode == 0


def run_unpacked(unpacked: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line of the wheel: `-S` leaves out the line that puts the checkout on the path."""
    paths = [str(unpacked), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    code = (
        f"import sys; sys.path[1:1] = {paths!r}; sys.argv = {['ml-intern', *arguments]!r}; "
        f"from ml_intern.cli import main; import ml_intern; "
        f"assert not [path for path in ml_intern.__path__ if path.startswith({str(ROOT)!r})]; main()"
    )
    command = [sys.executable, "-S", "-P", "-c", code]
    return subprocess.run(
        command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_the_installed_command_runs_from_any_directory(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("ml-intern")
    done = subprocess.run([command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ml-intern ")


def test_a_project_with_rooms_of_the_same_names_hides_none_of_ours(tmp_path: Path) -> None:
    """`PYTHONPATH=.` in a repository with `tools/` and `configs/` is what people of the field have."""
    for room in ("tools", "configs", "graphs"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise SystemExit('theirs')\n", encoding="utf-8")
    code = (
        "import ml_intern.tools.registry, ml_intern.configs.settings, ml_intern.graphs.agent; print('ours')"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, '.'); {code}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "ours\n", done.stderr


def test_the_lock_names_the_public_registry_only_and_hashes_everything() -> None:
    third_party = [package for package in LOCKED if package["name"] != "ml-intern"]
    assert {tuple(package["source"].items()) for package in third_party} == {
        (("registry", "https://pypi.org/simple"),)
    }
    for package in third_party:
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"]) for file in files), package["name"]


def test_the_lock_holds_the_versions_that_work_together() -> None:
    versions = {package["name"]: package["version"] for package in LOCKED if "version" in package}
    assert versions["litellm"].startswith("1.105.")
    assert versions["langgraph"].startswith("1.2.")
    assert versions["ml-intern"] == PROJECT["project"]["version"]


def test_the_link_that_editable_installs_use_leads_to_the_root() -> None:
    link = ROOT / ".dev" / "ml_intern"
    assert link.is_symlink()
    assert link.resolve() == ROOT.resolve()
