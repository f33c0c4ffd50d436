"""Tables and ledger in a PostgreSQL database.

:class:`destination.PostgresDestination` is the destination; :mod:`url` can be imported without a
driver.
"""
