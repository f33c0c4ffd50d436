"""One table's pending objects into committed checkpoints, whatever the destination."""
