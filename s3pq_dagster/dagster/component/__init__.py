"""The same definitions as YAML: a component for Dagster's `dg`."""
