"""Limits that several servers count together, in a Redis or Valkey.

https://redis.io/docs/latest/commands/
"""

from .limiter import RedisLimiter

__all__ = ["RedisLimiter"]
