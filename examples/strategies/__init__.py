"""Three strategies, served by fanout without a change in it: `python -m examples.strategies --help`.

Read `hedged`, `quorum` and `partial`: each is a handler and a verdict. `endpoints` gives them their paths.
`budget` and `delay` belong to `hedged`. docs/extending.md explains how to add yours.
"""
