"""What an error of a database says of its transaction."""

ROLLED_BACK = (
    "The transaction is rolled back; run again once the cause is gone: what is committed is not "
    "read again."
)
ONLY_READ = "It was only read, and nothing is changed; run again once the cause is gone."
