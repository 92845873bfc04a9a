"""asyncio beside Trio: the same race, as each library's documentation recommends it, in the same situations."""
