"""The simulated world: the whole server in memory, in virtual time, by a plan and a seed.

* `plan`: what clients, upstreams and the network will do, as values; `draw`: such a plan from a seed.
* `world`: runs a plan on the real server. `network`, `adapters`, `clients`, `upstreams`: its parts.
* `facts`: what was seen from outside. `oracle`: which answers are allowed. `judge`: were they given?
* `sweep`, `simulate`: many worlds. `trace`, `timeline`, `replay`: one world, looked at closely.
"""
