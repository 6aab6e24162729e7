"""A server of the explorer, run in this process on a port of its own."""

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

pytest.importorskip("uvicorn")

from vmexit_sim.explorer.server import Explorer, listening, server_of


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Served:
    port: int
    explorer: Explorer = field(repr=False)

    def get(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        try:
            connection.request(method, path, body=body, headers=named)
            response = connection.getresponse()
            found = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, found, response.read().decode())
        finally:
            connection.close()


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with listening("127.0.0.1", 0) as listener:
        explorer = Explorer("auto", 2)
        server = server_of(explorer, listener)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield Served(listener.getsockname()[1], explorer)
        server.should_exit = True
        thread.join(10)
        explorer.close()
        assert not thread.is_alive()
