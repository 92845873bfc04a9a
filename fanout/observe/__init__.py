"""Adapters of the core's events: each tells one kind of story."""
