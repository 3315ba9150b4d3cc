"""One import name, whatever is installed: nothing shadows the namespace, and every package is typed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "service/onefold/service",
    "graph/onefold/graph",
    "ml/onefold/ml",
    "ml/onefold/segments",
    "proto/gen/onefold/v1",
)


def test_no_init_file_stands_where_it_would_hide_a_sibling() -> None:
    assert [
        path for root in ("service", "graph", "ml", "proto/gen") for path in ROOT.glob(f"{root}/onefold/*.py")
    ] == []
    assert not (ROOT / "proto" / "__init__.py").exists()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("onefold-*.whl")
    return zipfile.ZipFile(built)


def test_the_wheels_only_top_level_is_onefold(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"onefold"}


def test_the_wheel_has_all_that_runs(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    assert {f"{package.split('/', 1)[1].removeprefix('gen/')}/py.typed" for package in PACKAGES} <= names
    assert "onefold/graph/policies/retail.yaml" in names
    assert "onefold/segments/catalogues/retail.yaml" in names
    assert not [
        name for name in names if Path(name).name.startswith(("test", "conftest")) and name.startswith("onefold/")
    ]
