"""An S3 server on loopback whose connections fail: every n-th request is refused, dropped, or its answer is lost."""

from __future__ import annotations

import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

BUCKET = "pictures"
_FAULTS = ("503", "drop", "lose", "500")


class Flaky:
    """WSGI application that lets every n-th request to another one fail, in turn in each way.

    Args:
        application: Application that answers the others.
        every: Number n; 0 for no faults.

    Attributes:
        requests: Number of requests by method.
        faults: Number of those that failed.
    """

    def __init__(self, application: Callable[..., Iterable[bytes]], every: int) -> None:
        self.every = every
        self.requests: Counter[str] = Counter()
        self.faults = 0
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            self.requests[environ["REQUEST_METHOD"]] += 1
            fails = self.every > 0 and self.requests.total() % self.every == 0
            fault = _FAULTS[self.faults % len(_FAULTS)] if fails else None
            self.faults += fails
        if fault is None:
            return self._application(environ, start_response)
        if fault == "lose":
            for _ in self._application(environ, lambda *_: lambda _: None):
                pass
        if fault in ("drop", "lose"):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError(fault)  # which the server takes for a client that is gone
        start_response(f"{fault} Fault", [("Content-Length", "0")])
        return []


@contextmanager
def bucket_server(every: int = 0) -> Iterator[tuple[str, Flaky]]:
    """Run moto's S3 in this process, with an empty bucket.

    Args:
        every: Of how many requests one fails; 0 for none.

    Yields:
        Address of the server, and what counts its requests.
    """
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for each request
    flaky = Flaky(DomainDispatcherApplication(create_backend_app), 0)
    server = make_server("127.0.0.1", 0, flaky, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        client = boto3.client(
            "s3", endpoint_url=address, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )
        client.create_bucket(Bucket=BUCKET)
        flaky.requests.clear()
        flaky.every = every
        yield address, flaky
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def settings(address: str) -> dict[str, str]:
    """Return the environment variables by which a command finds the server."""
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
