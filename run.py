"""Run the server from a checkout: ``python run.py OPTIONS`` is ``orbit serve OPTIONS``."""

import sys

from orbit_server.__main__ import main

if __name__ == "__main__":
    sys.argv.insert(1, "serve")
    main()
