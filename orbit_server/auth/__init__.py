"""Auth: whose key it is, and who is let in.

The key table itself is in ``auth.keys``: it loads SQLAlchemy, which not every command needs.
"""

from .key import Key, Limits, parse_expiry
from .origins import parse_origin
from .policy import ADMIN, Policy

__all__ = ["ADMIN", "Key", "Limits", "Policy", "parse_expiry", "parse_origin"]
