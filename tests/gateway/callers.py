"""Callers in a process of their own, for the test of overload: `callers.py URL CALLERS SECONDS` prints what they were answered."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

AFTER_REFUSAL_S = 0.1
REQUEST = b"GET /v1/collections HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def call(host: str, port: int, until: float, statuses: Counter[str], refused_s: list[float], retry_after: set[str]) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    while time.monotonic() < until:
        started = time.monotonic()
        writer.write(REQUEST)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.split("\r\n")[1:])}
        await reader.readexactly(int(fields["content-length"]))
        status = head.split(" ", 2)[1]
        statuses[status] += 1
        if status != "200":
            refused_s.append(time.monotonic() - started)
            retry_after.add(fields.get("retry-after", "none"))
            await asyncio.sleep(AFTER_REFUSAL_S)
    writer.close()


async def main(address: str, callers: int, seconds: float) -> None:
    host, port = urlsplit(address).netloc.split(":")
    statuses: Counter[str] = Counter()
    refused_s: list[float] = []
    retry_after: set[str] = set()
    until = time.monotonic() + seconds
    await asyncio.gather(*(call(host, int(port), until, statuses, refused_s, retry_after) for _ in range(callers)))
    told = {"statuses": statuses, "retry_after": sorted(retry_after), "refused_p50_s": statistics.median(refused_s or [0.0])}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
