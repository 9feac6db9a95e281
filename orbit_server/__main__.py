"""``python -m orbit_server``."""

from .cli.main import main

if __name__ == "__main__":
    main()
