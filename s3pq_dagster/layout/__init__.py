"""Which keys are which table, as the user lays it down: rules, templates of keys, key columns."""
