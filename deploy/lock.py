"""Writes ``requirements.lock``: the exact versions that ``make`` installs to run, test and build Onefold.

Pip resolves the runtime, development and build requirements of ``pyproject.toml`` and downloads nothing else.
Run it with the oldest Python that is supported, so that no version is chosen that leaves it out: ``make lock`` does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
HEADER = """\
# The exact versions that `make` installs: what Onefold needs to run, to be tested and to be built.
# Resolved on Python {python}; they install on every Python that pyproject.toml names.
# To refresh them: `make lock`, then `make check`.
"""


def requirements() -> list[str]:
    """What ``pyproject.toml`` asks for: to run, to develop and to build."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    return [*project["project"]["dependencies"], *extras["dev"], *project["build-system"]["requires"]]


def resolve(wanted: list[str]) -> dict[str, str]:
    """The version that pip chooses for each distribution in the closure of these requirements, by its name."""
    command = ["install", "--dry-run", "--ignore-installed", "--only-binary=:all:", "--quiet", "--report=-"]
    report = subprocess.run([sys.executable, "-m", "pip", *command, *wanted], check=True, stdout=subprocess.PIPE)
    installs = (entry["metadata"] for entry in json.loads(report.stdout)["install"])
    return {entry["name"].lower().replace("_", "-"): entry["version"] for entry in installs}


def main() -> None:
    """Resolves anew and writes the lock."""
    if sys.version_info[:2] != (3, 11):
        sys.exit(f"resolve with Python 3.11, the oldest that is supported; this is {sys.version.split()[0]}")
    versions = resolve(requirements())
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    LOCK.write_text(HEADER.format(python="3.11") + "".join(lines), "utf-8")
    print(f"{LOCK.name}: {len(lines)} distributions")


if __name__ == "__main__":
    main()
