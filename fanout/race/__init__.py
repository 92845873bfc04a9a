"""The core: stdlib and Trio only. It knows neither HTTP nor logging.

Read in this order: `outcome` (how one call can end), `ledger` (the record that outlives the scope),
`budget` (whose time it is), `verdict` (what the record means), `race` (running a call), `events`
(what observers are told), `admission` (how many requests may be in flight).
"""
