"""The admin listener: health, statistics, metrics, and the live page. It never calls the upstream."""
