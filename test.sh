#!/usr/bin/env bash
# Check everything: lint, types, import rules and all tests, on all cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

usage() {
    cat <<'USAGE'
usage: ./test.sh [--fast | --coverage] [pytest options]

  --fast       leave out the tests that start programs or take long
  --coverage   measure which lines the tests run, and fail below the floor in pyproject.toml
USAGE
}

# Half as many again as there are cores: many tests wait for a process.
options=(-n $(($(getconf _NPROCESSORS_ONLN) * 3 / 2)) --dist worksteal)
case "${1:-}" in
    --help | -h) usage; exit 0 ;;
    --fast) shift; options+=(-m "not system and not process and not slow and not live") ;;
    --coverage) shift; options+=(--cov --cov-report=term:skip-covered) ;;
esac

# What some tests need beside Python. Without it they are skipped; in CI they must run.
declare -A packages=(
    [node]=nodejs [npm]=npm
    [chromium]=chromium [nginx]=nginx-light [pg_ctlcluster]=postgresql [pgbouncer]=pgbouncer
    [redis-server]=redis-server
    [systemd-analyze]=systemd [tesseract]=tesseract-ocr
)
install_for_ci() {
    local program missing=() policy=/usr/sbin/policy-rc.d
    for program in "${!packages[@]}"; do
        command -v "$program" > /dev/null || missing+=("${packages[$program]}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "== apt-get install ${missing[*]}"
    # Debian asks this file whether a package may start its service: no.
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy"; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -qq --no-install-recommends "${missing[@]}" > /dev/null
}
if [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    install_for_ci
fi

source ./environment.sh
prepare_environment requirements-dev.txt constraints.txt

if [ -n "${CI:-}" ] && [ ! -d .venv/node ] && command -v npm > /dev/null; then
    echo "== npm install openai"
    # The newest version for Node 20.
    npm install --prefix .venv/node --no-audit --no-fund --ignore-scripts --silent openai@6.49.0
fi

echo "== ruff"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
echo "== mypy"
.venv/bin/mypy
echo "== import-linter"
.venv/bin/lint-imports
echo "== pytest"
exec .venv/bin/python -m pytest "${options[@]}" "$@"
