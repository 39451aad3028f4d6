#!/bin/sh
# Usage: tools/set_up.sh [EXTRA LOCK]
#
# Makes .venv and installs this folder into it, editable, with one extra of pyproject.toml, at the versions that LOCK names.
# Without arguments it only makes .venv.
# PYTHON names the interpreter to use; without it the first one on PATH that is new enough is taken.
set -eu

extra=${1:-}
lock=${2:-}
venv=.venv

new_enough() {
    "$1" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
        if new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.11 or newer was found under these names: ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}." >&2
    echo "Install one (with its venv module), or name it: make PYTHON=/path/to/python3.11 …" >&2
    exit 1
}

make_environment() {
    python=$(find_python)
    echo "Making $venv with $("$python" --version)"
    rm -rf "$venv"
    # Some systems split ensurepip off; then the pip that is there installs one into the environment.
    "$python" -m venv "$venv" >/dev/null 2>&1 || {
        "$python" -m venv --clear --without-pip "$venv"
        "$python" -m pip --python "$venv/bin/python" install --quiet pip
    }
}

# uv does in seconds what takes pip most of a minute. It reads none of pip's settings, so it is told the index that pip
# uses, and where pip is told to use no index, or uv cannot do it, pip does the work.
install_with_uv() {
    settings=$("$venv/bin/python" -m pip config list)
    case $settings in *no-index=*) return 1 ;; esac
    index=$(echo "$settings" | sed -n "s/^[^=]*\.index-url='\(.*\)'\$/\1/p" | tail -n 1)
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv || return 1
    if [ -n "$index" ]; then
        export UV_DEFAULT_INDEX="$index"
    fi
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --constraint "$lock" --editable ".[$extra]"
}

install_with_pip() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$lock" --editable ".[$extra]"
}

if ! new_enough "$venv/bin/python"; then
    make_environment
fi
if [ -n "$extra" ]; then
    echo "Installing what paradox[$extra] needs"
    install_with_uv || install_with_pip
    touch "$venv/.ready-$extra"
fi
