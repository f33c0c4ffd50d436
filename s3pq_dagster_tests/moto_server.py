"""A moto server that runs as long as the process, for what makes its own buckets."""

import logging

from moto.server import ThreadedMotoServer

from s3pq_dagster_tests.servers import admin_client


def start_moto(bucket: str) -> str:
    """Start a server with one bucket, and return its endpoint URL."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = admin_client(endpoint)
    client.create_bucket(Bucket=bucket)
    client.close()
    return endpoint
