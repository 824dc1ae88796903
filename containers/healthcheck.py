"""Exit with 0 if the URL answers 200, for HEALTHCHECK: a slim image has no curl.

usage: healthcheck.py URL     `{NAME}` in the URL stands for the environment variable NAME
"""

import http.client
import os
import sys
from urllib.parse import urlsplit

url = urlsplit(sys.argv[1].format_map(os.environ))
connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=5)
try:
    connection.request("GET", f"{url.path}?{url.query}" if url.query else url.path)
    status = connection.getresponse().status
except OSError as error:
    sys.exit(f"{url.geturl()}: {error}")
if status != http.HTTPStatus.OK:
    sys.exit(f"{url.geturl()}: status {status}")
