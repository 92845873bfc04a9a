"""Makes logs, metrics, traces and receipts from the core's events, and watches tasks and the event loop."""
