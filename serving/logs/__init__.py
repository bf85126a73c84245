"""What the server writes down of its requests, and how that is read again."""
