"""An S3 server that only lists: filling a real one with a million keys takes too long."""

import bisect
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from urllib.parse import parse_qs, quote, unquote, urlsplit

ODD = ("//", "/./", "/../", "/\x01/", "/a b+c/")
_PAGE = 1000
_TABLES = 50
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult>'
_OBJECT = (
    "<Contents><Key>{}</Key><LastModified>2024-02-14T12:00:00.000Z</LastModified>"
    "<ETag>&quot;{:032x}&quot;</ETag><Size>54321</Size><StorageClass>STANDARD</StorageClass>"
    "</Contents>"
)


def keys(count: int) -> list[str]:
    """Make so many keys, one in a hundred of them odd, in S3's order."""
    below = count // _TABLES
    found = (
        f"t{table:03}{ODD[number % len(ODD)] if number % 100 == 0 else '/'}{number:07}.parquet"
        for table in range(_TABLES)
        for number in range(below)
    )
    return sorted(found, key=str.encode)


class _Keys:
    """Sorted keys, returned in pages."""

    def __init__(self, count: int) -> None:
        self._keys = keys(count)

    def page(self, prefix: str, delimiter: str, after: str) -> tuple[list[str], list[str], str]:
        """Return objects, common prefixes and the next page's token, empty on the last page."""
        start = bisect.bisect_left(self._keys, prefix)
        if after:
            start = max(start, bisect.bisect_right(self._keys, after))
        objects: list[str] = []
        prefixes: list[str] = []
        found = list(islice(self._below(prefix, delimiter, start), _PAGE))
        for key, is_prefix, _ in found:
            (prefixes if is_prefix else objects).append(key)
        last = found[-1][2] if found else ""
        following = bisect.bisect_right(self._keys, last) if last else len(self._keys)
        more = following < len(self._keys) and self._keys[following].startswith(prefix)
        return objects, prefixes, last if more else ""

    def _below(self, prefix: str, delimiter: str, at: int) -> Iterator[tuple[str, bool, str]]:
        while at < len(self._keys) and self._keys[at].startswith(prefix):
            key = self._keys[at]
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                yield key, False, key
                at += 1
                continue
            branch = key[: cut + 1]
            at = bisect.bisect_left(self._keys, branch + "\U0010ffff")
            yield branch, True, self._keys[at - 1]


def main() -> None:
    """Serve until killed; print the endpoint as the first line."""
    all_keys = _Keys(int(sys.argv[1]))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
            objects, prefixes, token = all_keys.page(
                asked.get("prefix", ""),
                asked.get("delimiter", ""),
                unquote(asked.get("continuation-token", "")),
            )
            listed = [_OBJECT.format(quote(key), hash(key) & 2**64 - 1) for key in objects]
            below = [
                f"<CommonPrefixes><Prefix>{quote(p)}</Prefix></CommonPrefixes>" for p in prefixes
            ]
            token = (
                f"<NextContinuationToken>{quote(token)}</NextContinuationToken>" if token else ""
            )
            body = (
                f"{_HEAD}<Name>keys</Name><Prefix></Prefix><EncodingType>url</EncodingType>"
                f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>{token}"
                f"{''.join(listed)}{''.join(below)}</ListBucketResult>"
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/xml")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
