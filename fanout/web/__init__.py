"""The HTTP edge: handlers, problems, listeners, the admin side. The proof is in `api`."""
