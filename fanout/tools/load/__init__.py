"""`fanout load`: an open-loop load generator that tells kept promises from broken ones."""
