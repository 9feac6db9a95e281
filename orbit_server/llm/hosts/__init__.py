"""Several Ollama servers, used as one: choice, places, fail-over, and who is out for now."""

from .check import hosts_check
from .host import Host
from .hosts import Hosts

__all__ = ["Host", "Hosts", "hosts_check"]
