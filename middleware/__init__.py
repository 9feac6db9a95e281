"""Pure ASGI middleware, usable around any ASGI application.

Nothing here knows this project: policies come in as keyword callables, and what one layer learns
about a request it leaves for the others in ``scope["state"]``, one dictionary that the whole chain
shares.
"""
