"""HTTP clients that send several requests on one connection, and yield the bodies of the responses."""

import asyncio
import http.client
import subprocess

import aiohttp
import urllib3

from tests.kit.patience import PATIENCE


def with_http_client(address, paths, headers):
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    for path in paths:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as response:
            yield response.read()
    connection.close()


def with_urllib3(address, paths, headers):
    pool = urllib3.HTTPConnectionPool(*address, maxsize=1, block=True, timeout=PATIENCE, retries=False)
    for path in paths:
        yield pool.request("GET", path, headers=headers).data
    pool.close()


def with_aiohttp(address, paths, headers):
    async def ask():
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(f"http://{address[0]}:{address[1]}", connector=connector) as session:
            return [await (await session.get(path, headers=headers)).read() for path in paths]

    return asyncio.run(ask())


def with_curl(address, paths, headers):
    command = ["curl"]
    given = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    for path in paths:
        command += ["--silent", "--show-error", *given]
        command += ["--output", "-", "--write-out", "%{stderr}%{size_download}\\n"]
        command.append(f"http://{address[0]}:{address[1]}{path}")
        command.append("--next")
    done = subprocess.run(command[:-1], capture_output=True, timeout=PATIENCE, check=True)
    at = 0
    for size in map(int, done.stderr.split()):
        yield done.stdout[at : at + size]
        at += size


CLIENTS = {"http.client": with_http_client, "urllib3": with_urllib3, "aiohttp": with_aiohttp, "curl": with_curl}
