"""Objects to checked Arrow batches, prefetched and within bounds of memory and requests."""
