"""Exit with 0 if the URL answers 200, for HEALTHCHECK: a slim image has no curl.

usage: healthcheck.py URL     `{NAME}` in the URL stands for the environment variable NAME

If GATEWAY_TLS_CERT_FILE is set, it asks by HTTPS. A gateway that wants a client's certificate before it says
anything counts as healthy: there is none here.
"""

import http.client
import os
import ssl
import sys
from urllib.parse import urlsplit

url = urlsplit(sys.argv[1].format_map(os.environ))
host = url.hostname or ""
if os.environ.get("GATEWAY_TLS_CERT_FILE"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it is this machine, and nothing secret is said
    context.verify_mode = ssl.CERT_NONE
    connection: http.client.HTTPConnection = http.client.HTTPSConnection(
        host, url.port, timeout=5, context=context
    )
else:
    connection = http.client.HTTPConnection(host, url.port, timeout=5)
try:
    connection.request("GET", f"{url.path}?{url.query}" if url.query else url.path)
    status = connection.getresponse().status
except OSError as error:
    if os.environ.get("GATEWAY_TLS_CLIENT") == "required" and "CERTIFICATE_REQUIRED" in str(error):
        sys.exit(0)
    sys.exit(f"{url.geturl()}: {error}")
if status != http.HTTPStatus.OK:
    sys.exit(f"{url.geturl()}: status {status}")
