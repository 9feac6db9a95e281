#!/usr/bin/env bash
# Start the ORBIT server from a checkout: "./start.sh OPTIONS" is "orbit serve OPTIONS" in this
# folder. The first time, it sets up a Python environment in .venv.
if [ -z "${BASH_VERSION:-}" ]; then
    echo "start.sh needs bash: run ./start.sh, or bash start.sh" >&2
    exit 2
fi
set -euo pipefail
folder=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

source "$folder/environment.sh"
(cd "$folder" && prepare_environment requirements.txt)
exec "$folder/.venv/bin/orbit" serve --directory="$folder" "$@"
