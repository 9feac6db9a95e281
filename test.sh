#!/usr/bin/env bash
# Check everything: lint, types and all tests. Options go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The tests of deploy/ are skipped where nginx or systemd-analyze is missing; CI must run them.
install_for_ci() {
    local policy=/usr/sbin/policy-rc.d
    echo "== apt-get install nginx-light systemd"
    # Debian asks this file whether a package may start its service: no.
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy"; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq --no-install-recommends nginx-light systemd > /dev/null
}
if [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    { command -v nginx && command -v systemd-analyze; } > /dev/null || install_for_ci
fi

source ./environment.sh
prepare_environment requirements-dev.txt

echo "== ruff"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
echo "== mypy"
.venv/bin/mypy
echo "== pytest"
exec .venv/bin/python -m pytest "$@"
