"""What people asked: the chat log read back, counted, and grouped by meaning."""
