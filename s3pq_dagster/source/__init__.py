"""The source bucket: listing it, reading its objects, and which keys are which table."""
