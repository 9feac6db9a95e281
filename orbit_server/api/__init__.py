"""The HTTP interface: requests in, answers out. ``app.py`` lists the routes."""
