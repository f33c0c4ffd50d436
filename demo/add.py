"""`make dev-object`: one more day of flights for the sensor of `make dev` to find."""

import sys

from demo import data
from demo.lake import BUCKET, DIRECTORY, Lake, put
from s3pq_dagster_tests.servers import admin_client


def main() -> int:
    """Put the first object that is not there yet; return the exit code."""
    try:
        endpoint = Lake(DIRECTORY).endpoint.read_text(encoding="utf-8")
    except FileNotFoundError:
        print("`make dev` is not running: start it in another terminal first.")
        return 1
    client = admin_client(endpoint)
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix="flights/month=03/")["Contents"]
    missing = set(data.LATER) - {found["Key"] for found in listed}
    if not missing:
        print("Every object is there; stop `make dev` and `rm -r .demo` to start again.")
        return 1
    key = min(missing)
    rows = dict(data.objects())[key]
    put(client, key, rows)
    print(
        f"s3://{BUCKET}/{key} is there with {rows.num_rows} rows, and with a column that only such"
    )
    print("objects have: see it loaded in a minute.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
