#!/usr/bin/env bash
# Makes, or brings up to date, the virtual environment that `make` works in, with this package built into it in
# editable mode. Arguments: the extras to install, separated by commas. Settings come from the Makefile:
#   PYTHON  the interpreter to make the environment from
#   VENV    the environment's folder
#   TORCH   what to install where no PyTorch that fits is there
set -euo pipefail
cd "$(dirname "$0")/.."

extras=$1
say() { printf '==> %s\n' "$*"; }
stop() { printf 'error: %s\n' "$*" >&2; exit 1; }

min_python=$(sed -n 's/^requires-python = ">=\([0-9.]*\)"/\1/p' pyproject.toml)
min_torch=$(sed -n 's/^ *"torch>=\([0-9.]*\)".*/\1/p' pyproject.toml)

# at_least PYTHON_EXPRESSION MINIMUM: compares the first two numbers of a version.
at_least() {
    "$python" - "$2" <<EOF 2>/dev/null
import re, sys
def numbers(version):
    return [int(n) for n in re.findall(r"\d+", version)[:2]]
sys.exit(numbers($1) < numbers(sys.argv[1]))
EOF
}

has_torch() { "$python" -c 'import torch' 2>/dev/null && at_least '__import__("torch").__version__' "$min_torch"; }

python=$PYTHON
command -v "$python" >/dev/null || stop "there is no $python; install Python $min_python or newer, or set PYTHON="
at_least '__import__("platform").python_version()' "$min_python" ||
    stop "Python $min_python or newer is needed, and $("$python" --version) is too old; set PYTHON= to another one"
command -v "${CXX:-c++}" >/dev/null ||
    stop "a C++ compiler is needed to build the extension (Debian and Ubuntu: apt install g++), or set CXX="

if [ -x "$VENV/bin/python" ] && ! "$VENV/bin/python" -c 'import pip' 2>/dev/null; then
    stop "$VENV has no pip: making it was cut off, perhaps; remove it and try again"
fi
if [ ! -x "$VENV/bin/python" ]; then
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        stop "$python has no venv module (Debian and Ubuntu: apt install python3-venv)"
    say "making the environment $VENV from $("$python" --version)"
    installed_torch=
    if has_torch; then
        installed_torch=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parents[1])')
    fi
    "$python" -m venv "$VENV"
    if [ -n "$installed_torch" ]; then
        # More than --system-site-packages: the interpreter with PyTorch may be in an environment of its own.
        say "using the PyTorch in $installed_torch"
        site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
        printf '%s\n' "$installed_torch" > "$site/installed_torch.pth"
    fi
fi

python=$VENV/bin/python
# Modules are compiled when they are first imported: most of the 19,000 never are, and all would take a minute.
pip() { "$python" -m pip --disable-pip-version-check install -qq --no-compile "$@"; }

# PyTorch first: left to the dependency resolver, another release than the one wanted may come.
if ! has_torch; then
    say "installing $TORCH"
    pip $TORCH ||
        stop "pip could not install $TORCH; name another with TORCH=, or install PyTorch $min_torch or newer yourself"
fi
say "installing hogwild[$extras] and what it needs, building the extension"
pip 'setuptools>=77' ninja
pip --no-build-isolation --editable ".[$extras]" ||
    stop "the package could not be installed; the lines above say why"
"$python" -c 'import hogwild_cuda' || stop "the extension was built but does not load"
