"""asyncio beside Trio: the same race, as each library recommends it, in the same situations."""
