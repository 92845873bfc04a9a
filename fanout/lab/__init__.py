"""The cancellation lab: each guarantee as an experiment against the real server, and asyncio beside Trio."""
