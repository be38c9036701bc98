#!/usr/bin/env bash
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# setup.sh tools   makes .venv from requirements.lock: all that linters, sanity and unit tests need
# setup.sh lab     the same, and what the lab of real hosts needs from Debian
#
# Nothing to do when both are there. Needs no terminal.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly venv=.venv
readonly stamp=$venv/made-from
readonly wanted=${1:-tools}

say() { printf 'setup: %s\n' "$*"; }
stop() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

is_debian_root() { [ "$(id -u)" -eq 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null; }

# apt_install PACKAGE... : says what is missing where it may not install it
apt_install() {
    is_debian_root || stop "missing here: $*" \
        "install them, or run this as root on Debian 12, where it is done for you" \
        "what works without root and without the lab: make lint, make sanity, make unit"
    say "installing from Debian: $*"
    # Lists of packages may be missing (a container) or old: try again once they are fresh.
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" </dev/null >/dev/null 2>&1 || {
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" </dev/null >/dev/null
    }
}

# The lock is for Python 3.11. A candidate is run, not looked up: a pyenv shim may stand there and not work.
find_python() {
    local candidate
    for candidate in "${PYTHON:-/usr/bin/python3}" python3.11 python3; do
        if "$candidate" -c 'import sys, ssl, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

missing_for_lab() {
    local command package
    while read -r command package; do
        command -v "$command" >/dev/null || printf '%s\n' "$package"
    done <<'LIST'
git git
ip iproute2
mmdebstrap mmdebstrap
nft nftables
ssh openssh-client
systemd-nspawn systemd-container
zstd zstd
LIST
}

# pip says one line per package; this says one per ten seconds.
progress() {
    local line total=$1 done=0 told=$SECONDS
    while IFS= read -r line; do
        case $line in
            Collecting* | Processing*) done=$((done + 1)) ;;
            Installing*) say "unpacking" ;;
        esac
        if [ $((SECONDS - told)) -ge 10 ]; then
            say "fetched $done of $total packages"
            told=$SECONDS
        fi
    done
}

make_venv() {
    local python=$1 origin total
    # The path is part of it: scripts in a venv that was moved do not start.
    origin="$(sha256sum requirements.lock | cut -d' ' -f1) $PWD/$venv"
    [ "$(cat $stamp 2>/dev/null)" != "$origin" ] || return 0
    total=$(grep -c == requirements.lock)
    say "making $venv with $python: $total packages, one to ten minutes"
    # Made anew, so that what left the lock leaves the venv too.
    rm -rf $venv
    "$python" -m venv $venv
    # A minute of tries: pip's own end after some seconds.
    $venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
        --retries 8 --timeout 60 --require-hashes --requirement requirements.lock 2>.build/pip.log | progress "$total" || {
        tail -n 20 .build/pip.log >&2
        stop "the packages of requirements.lock could not be installed (above: why); they come from PyPI"
    }
    printf '%s\n' "$origin" >$stamp
    say "$venv is ready"
}

case $wanted in
    tools | lab) ;;
    *) stop "usage: setup.sh [tools|lab]" ;;
esac

# Two at once (make -j, two terminals) would remove each other's venv.
mkdir -p .build
exec 9>.build/setup.lock
flock 9

python=$(find_python) || {
    apt_install python3 python3-venv
    python=$(find_python) || stop "no Python 3.11 here: requirements.lock is for that version (Debian 12 has it);" \
        "name one with PYTHON=/path/to/python3.11"
}
if [ "$wanted" = lab ]; then
    mapfile -t missing < <(missing_for_lab)
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
    # Its own words say what else is missing and what still works.
    verdict=$("$python" lab/lab.py check 2>&1 >/dev/null) || stop "$verdict"
fi
make_venv "$python"
