"""Auth: whose key it is, and who is let in.

The key table itself is in ``auth.keys``: it loads SQLAlchemy, which not every command needs.
"""

from .key import Key, parse_expiry
from .policy import ADMIN, Policy

__all__ = ["ADMIN", "Key", "Policy", "parse_expiry"]
