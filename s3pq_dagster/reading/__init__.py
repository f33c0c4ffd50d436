"""Objects to checked Arrow batches, fetched ahead of time and within bounds."""
