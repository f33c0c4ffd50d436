"""Tables and ledger in a PostgreSQL database.

:class:`server.PostgresDestination` is the destination; :mod:`url` needs no driver.
"""
