"""Documents: files become chunks, and chunks a collection, here or on a running server.

Nothing is imported here: the processes that read files need no more than the readers.
"""
