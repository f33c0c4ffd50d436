"""Schemas that drift: which schema holds several, and values carried into it without a change."""
