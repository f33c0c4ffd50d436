"""The commands, each with its options and its help; what they do is imported when they run."""
