"""One process, from settings to exit: what it owns, its signals, its workers, its exit codes."""
