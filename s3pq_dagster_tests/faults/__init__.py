"""Faults between the package and its S3: a proxy that makes them, and what must come of them."""
