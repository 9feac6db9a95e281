"""Files -> text and structure, one module a format; ``read`` turns a file into chunks."""
