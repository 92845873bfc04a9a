"""The lab in the browser: tiles, the matrix, and a player of recorded races."""
