#!/usr/bin/env bash
# Start the ORBIT server; the first time, set up its Python environment in .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

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

# Checked here, before anything is installed for a command line that cannot work.
arguments=("$@")
while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --demo | --reload) ;;
        --host=?* | --port=?* | --workers=?* | --config=?*) ;;
        --host | --port | --workers | --config)
            [ $# -gt 1 ] && [ -n "$2" ] || refuse "$1 needs a value"
            shift ;;
        *) refuse "unknown option: $1" ;;
    esac
    shift
done

source ./environment.sh
prepare_environment requirements.txt
exec .venv/bin/python run.py ${arguments[@]+"${arguments[@]}"}
