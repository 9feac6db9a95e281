#!/usr/bin/env bash
# Start the ORBIT server; the first time, set up its Python environment in .venv.
set -euo pipefail
called_from=$PWD
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"

usage() {
    cat <<'USAGE'
usage: ./start.sh [--demo] [--host=HOST] [--port=PORT] [--workers=N] [--reload] [--config=FILE]

  --demo         answer from the sample documents, with or without Ollama
  --host=HOST    address to listen on (default: general.host, 0.0.0.0)
  --port=PORT    port to listen on (default: general.port, 3000)
  --workers=N    worker processes (default: 1)
  --reload       restart when the code changes
  --config=FILE  configuration file (default: config.yaml where there is one)
USAGE
}

refuse() {
    echo "start.sh: $1" >&2
    usage >&2
    exit 2
}

# The server runs in this folder, whoever calls it from another one.
from_there() {
    case "$1" in
        /*) printf %s "$1" ;;
        *) printf %s "$called_from/$1" ;;
    esac
}

# Checked here, before anything is installed for a command line that cannot work.
arguments=()
while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --demo | --reload | --host=?* | --port=?* | --workers=?*)
            arguments+=("$1") ;;
        --config=?*)
            arguments+=("--config=$(from_there "${1#*=}")") ;;
        --host | --port | --workers | --config)
            [ $# -gt 1 ] && [ -n "$2" ] || refuse "$1 needs a value"
            [ "$1" != --config ] || set -- "$1" "$(from_there "$2")" "${@:3}"
            arguments+=("$1" "$2")
            shift ;;
        *) refuse "unknown option: $1" ;;
    esac
    shift
done

source ./environment.sh
prepare_environment requirements.txt
exec .venv/bin/python run.py ${arguments[@]+"${arguments[@]}"}
