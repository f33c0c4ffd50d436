"""What Dagster sees: resource, assets, sensor, checks and IO managers."""
