"""Which commit is measured. Run as a program, it prints it."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def measured_commit() -> str:
    """The commit, with "-dirty" where files differ from it (other results do not count), or "unknown".

    It is unknown in an unpacked source archive, also inside of another repository.
    """
    commit = _git("rev-parse", "HEAD") if (ROOT / ".git").exists() else None
    if commit is None:
        return "unknown"
    changed = _git(
        "status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results", ":!README.md"
    )
    return commit + ("-dirty" if changed else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:  # there is no Git
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    print(measured_commit())
