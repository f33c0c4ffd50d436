"""`make dev`: the Dagster UI on the demo's bucket, with the sensor running."""

import argparse
import signal
import socket
import sys

from rich.console import Console

from demo import data
from demo.lake import BUCKET, DIRECTORY, Lake, put
from demo.webserver import Webserver, WebserverError, dagster_dev
from s3pq_dagster_tests.destinations.places import PLACES
from s3pq_dagster_tests.servers import admin_client

_FIRST_PORT = 3000
_print = Console(highlight=False, soft_wrap=True).print


def main() -> int:
    """Serve until Ctrl-C; return the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--destination", choices=PLACES, default="duckdb")
    lake = Lake(DIRECTORY, arguments.parse_args().destination)
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.default_int_handler)
    try:
        with lake.opened(fresh=False) as endpoint:
            _fill_if_new(endpoint)
            lake.endpoint.write_text(endpoint, encoding="utf-8")
            _print(f"An S3 server is at {endpoint}; dagster dev is starting, its log is {lake.log}")
            with dagster_dev(_free_port(), lake.environment(endpoint), lake.log) as webserver:
                webserver.start_sensor()
                _say_what_to_do(webserver, lake)
                webserver.process.wait()
    except KeyboardInterrupt:
        goes_on = "begins with no rows" if lake.kind == "postgres" else "goes on from here"
        _print(f"\nStopped. `make dev` {goes_on}, `rm -r .demo` forgets everything.")
        return 0
    except BlockingIOError:
        _print(f"[red]{lake.directory} is in use: stop the other `make demo` or `make dev`.[/]")
        return 1
    except WebserverError as error:
        _print(f"[red]{error}[/]")
        return 1
    finally:
        lake.endpoint.unlink(missing_ok=True)
        if lake.kind == "postgres" and "place" in vars(lake):
            lake.place.discard()  # its server ends with this process
    _print(f"[red]dagster dev has ended unexpectedly; its log is {lake.log}[/]")
    return 1


def _fill_if_new(endpoint: str) -> None:
    client = admin_client(endpoint)
    if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
        for key, rows in data.objects():
            if key not in data.LATER:
                put(client, key, rows)
    client.close()


def _free_port() -> int:
    for port in range(_FIRST_PORT, _FIRST_PORT + 1000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    msg = f"no free port from {_FIRST_PORT} on"
    raise WebserverError(msg)


def _say_what_to_do(webserver: Webserver, lake: Lake) -> None:
    _print(f"\n  Dagster's UI:     [bold]{webserver.url}[/]")
    _print(f"  the asset graph:  {webserver.url}/asset-groups")
    _print(f"  the tables:       {lake.place.url}")
    _print("\nThe sensor lists the bucket once a minute and loads what is new.")
    _print("  one more object:  make dev-object   (in another terminal)")
    _print("  stop:             Ctrl-C")


if __name__ == "__main__":
    sys.exit(main())
