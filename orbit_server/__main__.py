"""``python -m orbit_server``."""

from .cli import main

if __name__ == "__main__":
    main()
