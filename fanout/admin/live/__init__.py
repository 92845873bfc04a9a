"""The live page, its event stream, its controls and its trace file."""
