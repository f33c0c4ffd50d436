"""Objects that the contract's tests load: A in three versions, B and C in one."""

from s3pq_dagster.destinations.table_state import Owner
from s3pq_dagster_tests.unit.made import meta

A1, A2, A3 = meta("orders/a", "v1"), meta("orders/a", "v2", second=5), meta("orders/a", "v3")
B1, C1 = meta("orders/b", "v1", second=1), meta("orders/c", "v1", second=2)
ITEMS = Owner("items", "lake", "items/")
"""The owner of a second table."""
