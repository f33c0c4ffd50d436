"""airbyte-source-s3's cursor on listings, run in a separate environment.

Reads one line a look from standard input, a JSON list of ``[uri, last_modified]``, and answers with
the uris that the connector would read, as one line of JSON.
"""

import json
import logging
import sys
from datetime import datetime
from importlib.metadata import version

from airbyte_cdk.sources.file_based.config.file_based_stream_config import FileBasedStreamConfig
from airbyte_cdk.sources.file_based.config.parquet_format import ParquetFormat
from airbyte_cdk.sources.file_based.remote_file import RemoteFile
from source_s3.v4.cursor import Cursor


def main() -> None:
    """Answer until standard input ends; the state is stored as JSON, as between two syncs."""
    config = FileBasedStreamConfig(name="rows", format=ParquetFormat())
    state = "{}"
    for line in sys.stdin:
        cursor = Cursor(config)
        cursor.set_initial_state(json.loads(state))
        found = [
            RemoteFile(uri=uri, last_modified=datetime.fromisoformat(moment))
            for uri, moment in json.loads(line)
        ]
        chosen = cursor.get_files_to_sync(found, logging.getLogger("airbyte"))
        # As DefaultFileBasedStream reads and remembers them.
        files = sorted(chosen, key=lambda file: (file.last_modified, file.uri))
        for file in files:
            cursor.add_file(file)
        state = json.dumps(cursor.get_state())
        print(json.dumps([file.uri for file in files]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print(f"airbyte-source-s3 {version('airbyte-source-s3')}")
    else:
        main()
