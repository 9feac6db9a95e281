"""A web site as a source: its pages are found, fetched politely and read like files."""
