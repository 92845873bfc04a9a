"""Deliberate breakages: mistakes that matter, as patches against `fanout/`, and the means to run them.

* `patches`: what there is, and how a patch changes a text.
* `hook`: a breakage in memory, while its modules are imported. No file changes.
* `python -m fanout.testing.breakages NAME MODULE [ARGUMENTS]`: a program with it.
"""
