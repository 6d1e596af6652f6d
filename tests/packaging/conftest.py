"""The wheel and the collection as they are published, each installed into an empty virtual environment."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
#: Of the checkout, what the collection consists of when it is installed.
COLLECTION = ("meta", "playbooks", "plugins", "roles")


@dataclass(frozen=True)
class Place:
    """A virtual environment, and a home folder to go with it: nothing of the checkout or of the user is found there."""

    programs: Path
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    def check(self, program: str, *arguments: str, cwd: Path = Path("/")) -> str:
        """Run a program of this environment, demand that it succeeds, and return what it printed to stdout."""
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            cwd=cwd,
            env={
                "HOME": str(self.home),
                "LANG": "C.UTF-8",
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                **self.variables,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said = f"{done.stdout}\n{done.stderr}"
        assert done.returncode == 0, f"{program} {' '.join(arguments)}: exit status {done.returncode}\n{said}"
        return done.stdout


def files_below(folder: Path) -> set[str]:
    """The files of a source tree, relative to it, without what Python leaves there."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def playbooks() -> list[str]:
    """The names under which all playbooks of the collection are run."""
    return [f"hosting.failover.{path.stem}" for path in sorted(TOP.glob("playbooks/*.yml"))]


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.args}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"


def _environment(folder: Path, *packages: str | Path) -> Path:
    venv.create(folder, with_pip=True, symlinks=True)
    install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", "constraints.txt")
    _run(folder / "bin" / "python", *install, *packages)
    return folder / "bin"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection as Galaxy takes it."""
    folder = tmp_path_factory.mktemp("tarball")
    _run(Path(sys.executable).with_name("ansible-galaxy"), "collection", "build", "--output-path", folder)
    (found,) = folder.glob("*.tar.gz")
    return found


@pytest.fixture(scope="session")
def with_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An environment with the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("with-wheel")
    return Place(_environment(folder / "venv", wheel), folder / "home")


@pytest.fixture(scope="session")
def with_collection(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An environment with ansible-core and the collection, and no `failoverctl`."""
    folder = tmp_path_factory.mktemp("with-collection")
    programs = _environment(folder / "venv", "ansible-core")
    collections = folder / "collections"
    place = Place(programs, folder / "home", {"ANSIBLE_COLLECTIONS_PATH": str(collections)})
    place.check("ansible-galaxy", "collection", "install", str(tarball), "-p", str(collections), "--offline")
    return place


@pytest.fixture(scope="session")
def estate(with_wheel: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inventory that `failoverctl init` writes."""
    folder = tmp_path_factory.mktemp("estate")
    with_wheel.check("failoverctl", "init", cwd=folder)
    return folder
