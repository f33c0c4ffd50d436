"""Files below a root, local or in S3, for the destinations that are made of files."""
